"""Writes the job's report ConfigMap: at most every few seconds, and the last one surely."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import threading
import time
from pathlib import Path
from typing import Any, Final

from loopwright.api import names
from loopwright.api.report import MAX_REPORT_BYTES, Report
from loopwright.runtime.console import say

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
INTERVAL: Final = 5.0
PATIENCE: Final = 120.0


class Mailbox:
    """The mailbox of this job. Reports are coalesced: only the newest is ever written."""

    def __init__(self) -> None:
        self._newest: Report | None = None
        self._closed = False
        # Held while one is written, so that none can overtake another.
        self._writing = threading.Lock()
        self._wake = threading.Event()
        threading.Thread(target=self._loop, daemon=True).start()

    def put(self, report: Report) -> None:
        """Asks for a report to be written soon; returns at once."""
        self._newest = report
        self._wake.set()

    def put_last(self, report: Report) -> bool:
        """Writes the final report, trying for two minutes; returns whether it is stored.

        Nothing is written after it: messages of the training code may still be on their way.
        """
        self._closed = True
        with self._writing:
            deadline, pause = time.monotonic() + PATIENCE, 0.5
            while not self._write(report):
                if time.monotonic() > deadline:
                    return False
                time.sleep(pause)
                pause = min(10.0, pause * 2)
        return True

    def _loop(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._writing:
                report = None if self._closed else self._newest
                if report is not None and not self._write(report):
                    self._wake.set()
            time.sleep(INTERVAL)

    def _write(self, report: Report) -> bool:
        body = json.dumps({"data": {names.REPORT_KEY: bounded(report)}})
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        path = f"/api/v1/namespaces/{os.environ[names.ENV_NAMESPACE]}/configmaps/"
        path += os.environ[names.ENV_REPORT]
        try:
            context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
            # Python 3.13 asks of a CA what RFC 5280 does, and many clusters' lack it.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            connection = http.client.HTTPSConnection(host, int(port), timeout=15, context=context)
            headers = {
                "Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}",
                "Content-Type": "application/merge-patch+json",
            }
            connection.request("PATCH", path, body, headers)
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            say(f"loopwright: report not stored: {error}")
            return False
        if response.status >= 300:
            say(f"loopwright: report not stored: HTTP {response.status}")
        return response.status < 300


def bounded(report: Report) -> str:
    """The report as JSON within the mailbox's limit: metrics, then inputs, go when it is full."""
    while True:
        text = report.model_dump_json(by_alias=True, exclude_none=True)
        if len(text.encode()) <= MAX_REPORT_BYTES:
            return text
        if report.metrics:
            fewer: dict[str, Any] = {"metrics": report.metrics[: len(report.metrics) // 2]}
        elif report.inputs:
            fewer = {"inputs": report.inputs[: len(report.inputs) // 2]}
        else:
            return text
        report = report.model_copy(update=fewer)
