"""What the operator, the endpoint's monitor and the model server agree on, defined once."""

from __future__ import annotations

from typing import Final

HTTP_PORT: Final = 8080
"""REST of both protocols, probes and /metrics."""
GRPC_PORT: Final = 8081
"""The Open Inference Protocol over gRPC."""

READY_PATH: Final = "/v2/health/ready"
LIVE_PATH: Final = "/v2/health/live"
BASELINE_PATH: Final = "/loopwright/baseline"
"""The profile of the model's training data, as JSON; 204 when it has none."""
SKETCH_PATH: Final = "/loopwright/sketch"
"""What the process has counted into the profile's bins, as `loopwright.sketch.Snapshot`."""
FEEDBACK_PATH: Final = "/loopwright/feedback"
"""POST, for clients: outcomes of answers. GET, for monitors: what was counted of them."""
FEEDBACK_ID: Final = "x-feedback-id"
"""Header of an answer: what to name in feedback about it. It tells variant and model, so that any
pod of any variant can count it: <variant>.<beginning of the model's digest>.<request id>."""

# What a predictor of an endpoint is told; all of the server's settings have such variables.
ENV_ENDPOINT: Final = "LOOPWRIGHT_ENDPOINT"
ENV_VARIANT: Final = "LOOPWRIGHT_VARIANT"
ENV_MODEL_NAME: Final = "LOOPWRIGHT_MODEL_NAME"
ENV_MODEL_VERSION: Final = "LOOPWRIGHT_MODEL_VERSION"
ENV_MODEL_URI: Final = "LOOPWRIGHT_MODEL_URI"
ENV_MODEL_DIGEST: Final = "LOOPWRIGHT_MODEL_DIGEST"
ENV_THREADS: Final = "LOOPWRIGHT_THREADS"
ENV_MAX_BATCH_SIZE: Final = "LOOPWRIGHT_MAX_BATCH_SIZE"
ENV_MAX_LATENCY_MS: Final = "LOOPWRIGHT_MAX_LATENCY_MS"
ENV_REVISION: Final = "LOOPWRIGHT_REVISION"
ENV_REGISTERED_VERSION: Final = "LOOPWRIGHT_REGISTERED_VERSION"
ENV_CAPTURE_CONFIG: Final = "LOOPWRIGHT_CAPTURE_CONFIG"
ENV_DRAIN_SECONDS: Final = "LOOPWRIGHT_DRAIN_SECONDS"

# Labels of all three: endpoint and variant. Codes are those of HTTP, for gRPC too; 500 and more
# are the server's errors.
METRIC_REQUESTS: Final = "loopwright_serving_requests_total"
"""Requests for predictions; also by protocol (v1, v2, grpc) and code."""
METRIC_SECONDS: Final = "loopwright_serving_request_seconds"
"""Histogram, from the head of a request to its answer; without those refused with 4xx."""
METRIC_IN_FLIGHT: Final = "loopwright_serving_in_flight"
"""Requests being worked on."""

# Of servers that capture; also with the labels endpoint and variant.
METRIC_CAPTURED: Final = "loopwright_capture_records_total"
"""Requests that were stored."""
METRIC_CAPTURE_DROPPED: Final = "loopwright_capture_dropped_total"
"""Requests that were sampled and not stored; also by reason."""
METRIC_CAPTURE_FAILING: Final = "loopwright_capture_failing"
"""1 while capturing does not work: its last upload failed, or it cannot run."""
