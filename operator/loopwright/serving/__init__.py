"""The model server: what runs in the predictor pods of an endpoint. It imports `api` alone."""
