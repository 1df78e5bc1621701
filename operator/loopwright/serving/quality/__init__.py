"""How good a model's answers were: captured answers, joined with labels that come later.

Runs in a container beside the endpoint's monitor, which has a reader of Parquet and the keys to the
storage, but no account at the API server.
"""
