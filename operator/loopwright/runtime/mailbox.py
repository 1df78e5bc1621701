"""Writes the job's report ConfigMap: at most every few seconds, and the last one surely."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from loopwright import inpod
from loopwright.api import names
from loopwright.api.base import StatusModel
from loopwright.api.report import MAX_REPORT_BYTES
from loopwright.api.trainingjob_status import Cause
from loopwright.runtime.console import say
from loopwright.runtime.errors import RunError

INTERVAL: Final = 5.0
PATIENCE: Final = 120.0
# Rights and policies take a moment to be in force, and a former job's report to be collected.
REFUSAL_PATIENCE: Final = 30.0
# Asking again does not help: the right is missing, or somebody else has a ConfigMap of that name.
REFUSED: Final = frozenset({400, 403, 404, 422})
MAX_MESSAGE: Final = 512


class Job(Protocol):
    """The object whose mailbox it is; configurations of all kinds are such."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def namespace(self) -> str:
        """Its namespace."""

    @property
    def uid(self) -> str:
        """Its UID."""


Report = TypeVar("Report", bound=StatusModel)
Fewer = Callable[[Report], Report | None]
"""Makes a report smaller; gives None when nothing can be left out any more."""


class Mailbox(Generic[Report]):
    """The mailbox of this job. Reports are coalesced: only the newest is ever written.

    It is applied, so the first report makes it, and it comes back when somebody deletes it.
    """

    def __init__(self, kind: str, job: Job, fewer: Fewer[Report]) -> None:
        self._namespace, self._name = job.namespace, names.report_name(kind, job.name)
        self._meta = {
            "name": self._name,
            "labels": names.child_labels(kind, job.name),
            "ownerReferences": [names.owner_reference(kind, job.name, job.uid)],
        }
        self._fewer = fewer
        self._useless = False
        self._refusal: str | None = None
        self._newest: Report | None = None
        self._closed = False
        # Held while one is written, so that none can overtake another.
        self._writing = threading.Lock()
        self._wake = threading.Event()
        threading.Thread(target=self._loop, daemon=True).start()

    def put_first(self, report: Report) -> None:
        """Writes a report before anything is spent on the run.

        Raises:
            RunError: the API server refuses it, so that the result could not be stored either. One
                that is merely not there does not hold up the run.
        """
        deadline = time.monotonic() + REFUSAL_PATIENCE
        while not self._write(report) and self._refusal is not None:
            if time.monotonic() > deadline:
                self._useless = True
                text = f"the report cannot be stored: {self._refusal}"
                raise RunError("ReportRefused", text, Cause.INFRASTRUCTURE)
            time.sleep(1)

    def put(self, report: Report) -> None:
        """Asks for a report to be written soon; returns at once."""
        self._newest = report
        self._wake.set()

    def put_last(self, report: Report) -> bool:
        """Writes the final report, trying for two minutes; returns whether it is stored.

        One that was refused from the beginning is not waited for.

        Nothing is written after it: messages of the training code may still be on their way.
        """
        self._closed = True
        with self._writing:
            deadline, pause = time.monotonic() + PATIENCE, 0.5
            while not self._write(report):
                if time.monotonic() > deadline or self._useless:
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
        data = {names.REPORT_KEY: bounded(report, self._fewer)}
        head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": self._meta}
        body = json.dumps({**head, "data": data})
        path = inpod.configmap(self._namespace, self._name)
        path += f"?fieldManager={names.RUNTIME}&force=true"
        try:
            host, port = inpod.address()
            connection = http.client.HTTPSConnection(host, port, timeout=15, context=inpod.tls())
            headers = {
                "Authorization": f"Bearer {inpod.token()}",
                "Content-Type": "application/apply-patch+yaml",
            }
            connection.request("PATCH", path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._refusal = None
            say(f"loopwright: report not stored: {error}")
            return False
        if response.status < 300:
            self._refusal = None
            return True
        said = f"HTTP {response.status}: {_message(answer)}"
        say(f"loopwright: report not stored: {said}")
        self._refusal = said if response.status in REFUSED else None
        return False


def _message(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["message"])[:MAX_MESSAGE]
    except (ValueError, KeyError, TypeError):
        return answer.decode(errors="replace")[:MAX_MESSAGE]


def bounded(report: Report, fewer: Fewer[Report]) -> str:
    """The report as JSON within the mailbox's limit."""
    while True:
        text = report.model_dump_json(by_alias=True, exclude_none=True)
        less = fewer(report) if len(text.encode()) > MAX_REPORT_BYTES else None
        if less is None:
            return text
        report = less
