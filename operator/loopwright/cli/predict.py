"""`predict`: asks an endpoint, and says what it takes when it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import urllib3

from loopwright.api.modelendpoint_status import ModelEndpointStatus, VariantStatus
from loopwright.api.registry import ModelVersion, TensorSpec
from loopwright.api.resources import MODELVERSION, SERVICE
from loopwright.view.cluster import READ_SECONDS, Cluster
from loopwright.view.errors import Refused, Trouble
from loopwright.view.refs import Found, parsed

CONNECT_SECONDS: Final = 5


def body_of(data: str) -> Any:
    """The request in JSON text, a file, or - for the standard input; bare rows become instances.

    Raises:
        Trouble: it is no JSON, or there is no such file.
    """
    if data == "-":
        text = sys.stdin.read()
    elif data.lstrip().startswith(("{", "[")):
        text = data
    else:
        try:
            text = Path(data).read_text()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise Trouble(f"cannot read {data}: {why}", "-d takes a file, - or JSON") from error
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Trouble(
            f"the data are no JSON: {error}", "for example [[5.1, 3.5, 1.4, 0.2]]"
        ) from error
    if isinstance(found, list):
        return {"instances": found}
    if not isinstance(found, dict) or not {"instances", "inputs"} & found.keys():
        raise Trouble(
            "the data are no request",
            'give rows, or an object with "instances" (v1) or "inputs" (v2)',
        )
    return found


def predict(cluster: Cluster, found: Found, body: Any, note: Callable[[str], None]) -> Any:
    """The endpoint's answer.

    Args:
        note: Told what a person should know besides.

    Raises:
        Trouble: the endpoint cannot be reached, or refuses the request.
    """
    if found.kind.name != "ModelEndpoint":
        raise Trouble(f"{found.ref} is no endpoint", "name a ModelEndpoint: mep/NAME")
    status = parsed(ModelEndpointStatus, found.obj.get("status") or {}, found.ref)
    path = f"v1/models/{quote(found.name)}:predict"
    if "instances" not in body:
        path = f"v2/models/{quote(found.name)}/infer"
    if status.url is not None:
        try:
            return _by_url(cluster, status, f"{status.url.rstrip('/')}/{path}", body)
        except urllib3.exceptions.HTTPError as error:
            cause = type(getattr(error, "reason", None) or error).__name__
            note(f"{status.url} does not answer from here ({cause}); asked by the API server")
    elif not any(one.ready for one in status.variants):
        raise Trouble(f"{found.ref} serves nothing yet", f"loopwright explain {found.ref}")
    if len(status.variants) > 1:
        note("this way only the variant with the greatest weight is asked")
    where = f"{SERVICE.path(cluster.namespace)}/http:{found.name}:80/proxy/{path}"
    try:
        return json.loads(cluster.read("POST", where, body=body))
    except Refused as error:
        text = "open its URL from where it can be reached"
        raise Trouble(f"the Service cannot be asked: {error.message}", text) from error
    except Trouble as error:
        raise _refused(cluster, status, error.message) from error


def _by_url(cluster: Cluster, status: ModelEndpointStatus, url: str, body: Any) -> Any:
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
        answer = pool.request("POST", url, json=body)
    if answer.status >= 300:
        raise _refused(cluster, status, told(answer.data) or f"HTTP {answer.status} from {url}")
    try:
        return json.loads(answer.data)
    except ValueError as error:
        raise Trouble(f"{url} answered with no JSON", "see what the Gateway sends there") from error


def told(body: bytes) -> str:
    """The server's words for a refusal."""
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:300].decode(errors="replace").strip()


def _refused(cluster: Cluster, status: ModelEndpointStatus, message: str) -> Trouble:
    takes = [text for one in status.variants if (text := signature(cluster, one))]
    return Trouble(message, f"the model takes {takes[0]}" if takes else "loopwright logs says more")


def signature(cluster: Cluster, variant: VariantStatus) -> str:
    """What a variant's model takes, for people; nothing when that is not known."""
    name = variant.serving.model_version if variant.serving else None
    obj = cluster.get(MODELVERSION, name) if name else None
    if obj is None:
        return ""
    found = parsed(ModelVersion, obj, f"mv/{name}").spec.signature
    return ", ".join(tensor(one) for one in found.inputs) if found else ""


def tensor(one: TensorSpec) -> str:
    """A tensor for people: input float32[any, 4]."""
    sizes = ", ".join("any" if size < 0 else str(size) for size in one.shape)
    return f"{one.name} {one.dtype}[{sizes}]"
