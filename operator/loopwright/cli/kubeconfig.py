"""The cluster and the user of a kubeconfig."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import urllib3
from kubernetes import client, config

from loopwright.view.cluster import Cluster
from loopwright.view.errors import Trouble

POD_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class ConfiguredUser:
    """Who a kubeconfig, or a pod, says one is."""

    def __init__(self, settings: client.Configuration) -> None:
        self._api = client.ApiClient(settings)

    @property
    def host(self) -> str:
        """The API server's URL."""
        return str(self._api.configuration.host)

    def request(
        self, method: str, url: str, headers: dict[str, str], body: Any, timeout: urllib3.Timeout
    ) -> urllib3.BaseHTTPResponse:
        """Asks, and returns the answer before its body is read."""
        headers["User-Agent"] = "loopwright-cli"
        path = url.removeprefix(self.host)
        self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        limits = (timeout.connect_timeout, timeout.read_timeout)
        try:
            answer = self._api.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=limits
            )
        except client.ApiException as error:
            # The client makes one of its own of what TLS says.
            raise urllib3.exceptions.HTTPError(str(error.reason)) from error
        response: urllib3.BaseHTTPResponse = answer.response
        return response


def load(kubeconfig: str | None, context: str | None, namespace: str | None) -> Cluster:
    """The cluster of a kubeconfig's context, or the one that this pod runs in.

    Raises:
        Trouble: there is none.
    """
    settings = client.Configuration()
    # Python 3.13 asks of a CA what RFC 5280 does, and many clusters' lack it.
    settings.disable_strict_ssl_verification = True
    try:
        config.load_kube_config(kubeconfig, context, client_configuration=settings)
        every, active = config.list_kube_config_contexts(kubeconfig)
        chosen = next((one for one in every if one["name"] == context), active)
        default = chosen["context"].get("namespace") or "default"
    except (config.ConfigException, OSError) as error:
        if kubeconfig or context or not POD_NAMESPACE.exists():
            told = " ".join(str(error).split())
            text = "set KUBECONFIG, or give --kubeconfig and --context"
            raise Trouble(f"no cluster: {told}", text) from error
        config.load_incluster_config(client_configuration=settings)
        default = POD_NAMESPACE.read_text().strip()
    settings.retries = urllib3.Retry(connect=1, read=0, redirect=0)
    return Cluster(ConfiguredUser(settings), namespace or default)
