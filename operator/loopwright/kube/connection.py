"""Where the API server is and who we are there; kopf and our own client share it."""

from __future__ import annotations

import ssl
from typing import Any

import aiohttp
from kubernetes.aio import client as aio_client
from kubernetes.aio import config as aio_config


class Connection:
    """The pod's own ServiceAccount, or else the kubeconfig's current context."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self.server: str = config.host

    @classmethod
    async def load(cls) -> Connection:
        """Reads the credentials.

        Raises:
            kubernetes.aio.config.ConfigException: there are none.
        """
        config = aio_client.Configuration()
        try:
            aio_config.load_incluster_config(client_configuration=config)
        except aio_config.ConfigException:
            await aio_config.load_kube_config(client_configuration=config)
        return cls(config)

    def session(self, limit: int, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
        """A new HTTP session of at most `limit` connections; 0 means any number."""
        connector = aiohttp.TCPConnector(limit=limit, ssl=self._tls())
        return aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            headers={"User-Agent": "loopwright"},
            middlewares=(self._authorize,),
        )

    async def _authorize(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        # Asked for each request: a ServiceAccount's token expires within the hour.
        if token := await self._config.get_api_key_with_prefix("BearerToken", "authorization"):
            request.headers["Authorization"] = token
        return await handler(request)

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._config.ssl_ca_cert)
        # Python 3.13 asks of a CA what RFC 5280 does, and many clusters' lack it.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not self._config.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self._config.cert_file:
            context.load_cert_chain(self._config.cert_file, self._config.key_file)
        return context
