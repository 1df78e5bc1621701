"""Files in storage, read with the job's own credentials."""

from __future__ import annotations

import base64
from typing import Any, Final

from loopwright.api.resources import SECRET
from loopwright.view.cluster import Cluster, Object
from loopwright.view.errors import NotThere, Trouble

MAX_BYTES: Final = 256 * 2**20


def secret_of(obj: Object) -> str | None:
    """The Secret with which a job writes its output."""
    spec = obj.get("spec") or {}
    spec = (spec.get("trialTemplate") or {}).get("spec") or spec
    name = ((spec.get("output") or {}).get("secretRef") or {}).get("name")
    return str(name) if name else None


def fetch(cluster: Cluster, uri: str, secret: str | None) -> bytes:
    """The content of a file in a bucket.

    Raises:
        Trouble: it cannot be read from here; says where it is and how to read it.
    """
    if uri.startswith("pvc://"):
        claim, _, path = uri.removeprefix("pvc://").partition("/")
        text = f"read {path} in a pod that mounts the claim"
        raise Trouble(f"{uri} is on claim {claim}, which this tool cannot read", text)
    if not uri.startswith("s3://"):
        raise Trouble(f"{uri} cannot be read by this tool", "open it with another")
    try:
        from pyarrow import fs
    except ImportError as error:
        text = f"pip install pyarrow, or: aws s3 cp {uri} ."
        raise Trouble(f"{uri} cannot be read without pyarrow", text) from error
    keys = _credentials(cluster, secret) if secret else {}
    try:
        with _bucket(fs, keys).open_input_stream(uri.removeprefix("s3://")) as stream:
            return bytes(stream.read(MAX_BYTES))
    except FileNotFoundError as error:
        raise NotThere(f"there is no {uri}") from error
    except OSError as error:
        text = "read it from where the storage can be reached, with credentials for it"
        raise Trouble(f"{uri} cannot be read from here: {str(error)[:300]}", text) from error


def _credentials(cluster: Cluster, name: str) -> dict[str, str]:
    found = cluster.get(SECRET, name)
    if found is None:
        raise NotThere(f"there is no Secret {name}", "create it, as the job needs it too")
    data = found.get("data") or {}
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def _bucket(fs: Any, keys: dict[str, str]) -> Any:
    known = {
        "access_key": "AWS_ACCESS_KEY_ID", "secret_key": "AWS_SECRET_ACCESS_KEY",
        "session_token": "AWS_SESSION_TOKEN", "region": "AWS_REGION",
        "endpoint_override": "AWS_ENDPOINT_URL",
    }  # fmt: skip
    options = {option: keys[key] for option, key in known.items() if keys.get(key)}
    # No answer within seconds means that the storage is the cluster's own.
    return fs.S3FileSystem(connect_timeout=5, request_timeout=30, **options)
