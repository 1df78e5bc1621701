"""The API server's own audit log: who wrote what, deleted objects included."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventually import eventually

OPERATOR = "system:serviceaccount:loopwright-system:loopwright"
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
# Renewals, and questions that are asked by POST.
NO_NEWS = frozenset({"leases", "selfsubjectreviews"})


@dataclass
class AuditLog:
    """Writes that reached the API server."""

    path: Path

    def mark(self) -> int:
        """The present end, to read from later."""
        return self.path.stat().st_size

    def writes(self, since: int, user: str = OPERATOR) -> list[dict[str, Any]]:
        """Completed writes of a user after a mark, but for `NO_NEWS`."""
        with self.path.open("rb") as log:
            if since:
                # What was being written when it was marked is of before.
                log.seek(since - 1)
                log.readline()
            events = [json.loads(line) for line in log if line.endswith(b"\n")]
        return [
            event
            for event in events
            if event["stage"] == "ResponseComplete"
            and event["user"]["username"] == user
            and event["verb"] in WRITES
            and event["objectRef"]["resource"] not in NO_NEWS
        ]

    def settled(self, seconds: float = 3) -> None:
        """Waits until the operator has written nothing for so long."""

        def quiet() -> bool:
            mark = self.mark()
            time.sleep(seconds)
            return not self.writes(mark)

        eventually("the last write", quiet)

    def created(self, since: int, namespace: str, resource: str) -> list[str]:
        """Names of all objects that the operator ever created, those deleted again included."""
        return sorted(
            event["objectRef"]["name"]
            for event in self.writes(since)
            if event["objectRef"]["resource"] == resource
            and event["objectRef"]["namespace"] == namespace
            and event["responseStatus"]["code"] == 201
        )
