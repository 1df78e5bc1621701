"""Secrets of random values, and a search for them where nobody may find them."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from kubectl import Kubectl, KubectlError

# All that a job or endpoint leaves in a namespace, but for Secrets themselves.
KINDS: Final = (
    "trainingjobs", "hyperparametersweeps", "batchtransforms", "models", "modelversions",
    "modelendpoints", "rayjobs", "rayclusters", "inferenceservices", "httproutes", "configmaps",
    "deployments", "controllerrevisions", "pods", "services", "events", "serviceaccounts",
    "networkpolicies", "horizontalpodautoscalers",
)  # fmt: skip


class Seeds:
    """Keys of an S3 server and a token, which are in no other test.

    Args:
        values: Those that are in use instead.
    """

    def __init__(self, values: dict[str, str] | None = None) -> None:
        self.values: dict[str, str] = values or {
            "AWS_ACCESS_KEY_ID": f"AKIA{secrets.token_hex(8).upper()}",
            "AWS_SECRET_ACCESS_KEY": f"{secrets.token_urlsafe(24)}+/x",
            "AWS_SESSION_TOKEN": secrets.token_urlsafe(48),
            "TOKEN": secrets.token_hex(24),
        }

    def secret(self, name: str) -> dict[str, Any]:
        """A Secret that holds them."""
        meta = {"name": name}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": self.values}

    def found(self, places: Mapping[str, str] | Iterable[tuple[str, str]]) -> list[str]:
        """Which of them are where, in any form in which they travel."""
        texts = places.items() if isinstance(places, Mapping) else places
        return [
            f"{name} in {place}"
            for place, text in texts
            for name, value in self.values.items()
            if any(form in text for form in forms(value))
        ]


def forms(value: str) -> Iterator[str]:
    """A value as it is, in JSON, in a URL and in base64."""
    yield from {value, json.dumps(value)[1:-1], quote(value, safe="")}
    yield base64.b64encode(value.encode()).decode().rstrip("=")


def left_in(api: Kubectl, namespace: str) -> Iterator[tuple[str, str]]:
    """All objects of a namespace but Secrets, as text, with their managedFields."""
    for kind in KINDS:
        try:
            yield kind, api.run("get", kind, "-n", namespace, "-o", "json", "--show-managed-fields")
        except KubectlError:
            continue  # The cluster lacks it.
    yield "describe", api.run("describe", "trainingjobs", "-n", namespace)


def told_in(api: Kubectl, namespace: str) -> Iterator[tuple[str, str]]:
    """What all containers of a namespace that still run have told."""
    for pod in api.list("pods", namespace):
        name = pod["metadata"]["name"]
        words = ("logs", name, "-n", namespace, "--all-containers", "--tail=-1")
        yield name, api.run(*words, check=False)
