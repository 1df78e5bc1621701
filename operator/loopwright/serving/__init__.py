"""The model server: what runs in the predictor pods of an endpoint. It imports `api` alone."""

import os

# Since 1.29 onnxruntime tells Microsoft of each session: name, hashes and size of the model. It
# looks for this when it is loaded, so it is set before any module here imports it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
