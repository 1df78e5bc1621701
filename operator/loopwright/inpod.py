"""How a pod of ours reaches the API server: by its own ServiceAccount, without a client library."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from loopwright.api import names


def _account() -> Path:
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    return Path(os.environ.get(names.ENV_ACCOUNT, folder))


def address() -> tuple[str, int]:
    """Host and port of the API server."""
    return os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])


def tls() -> ssl.SSLContext:
    """Trusts the cluster's CA as it is now, for it may be replaced."""
    context = ssl.create_default_context(cafile=str(_account() / "ca.crt"))
    # Python 3.13 asks of a CA what RFC 5280 does, and many clusters' lack it.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def token() -> str:
    """The account's token, which is replaced within the hour: read it for each request.

    Raises:
        OSError: there is none.
    """
    return (_account() / "token").read_text()


def configmap(namespace: str, name: str) -> str:
    """Path of a ConfigMap."""
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}"
