"""Where results wait until all are there: what is done stays done, whoever dies.

A shard's data, its dead letters and its checks are files with names of their own for each time that
somebody works on it, so that nobody overwrites what another has finished. `shard-<n>.json` names
them; it is written last, and only with it a shard is done. On a claim all of them are on the disk
by then, so that not even a node that loses power takes back what is done.
"""

from __future__ import annotations

import uuid
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from loopwright.runtime.batch.plan import Plan
from loopwright.runtime.storage import Folder

PLAN: Final = "plan.json"


class Reason(BaseModel):
    """Bad records of one reason."""

    count: int
    message: str
    file: str
    line: int | None


class Done(BaseModel):
    """A finished shard."""

    number: int
    read: int = 0
    written: int = 0
    failed: int = 0
    data: str | None = None
    """The file of results, unless there are none."""
    size: int = 0
    sha256: str = ""
    letters: str | None = None
    """The file of dead letters, unless there are none."""
    reasons: dict[str, Reason] = {}
    checks: dict[str, Any] | None = None
    """What the data's checks found, for the others' to be added."""
    hashes: str | None = None
    """The file of the hashes of values that must not repeat."""
    sketch: str | None = None
    """The file of counts for monitors."""
    model_digest: str = ""
    answered: list[str] = []
    """Variants of an endpoint that answered, each with the beginning of its model's digest."""


def name(uid: str) -> str:
    """Of a job's staging folder; readers leave out what begins with '_'."""
    return f"_staging-{uid}"


class Staging:
    """A job's staging folder."""

    def __init__(self, output: Folder, uid: str) -> None:
        self._output, self._name = output, name(uid)

    def path(self, file: str) -> str:
        """Of a file in it, below the output's folder."""
        return f"{self._name}/{file}"

    def begun(self) -> bool:
        """Whether an attempt of this job has begun, or even published a part."""
        return self._output.read(self.path(PLAN)) is not None

    def begin(self, plan: Plan) -> dict[int, Done]:
        """What is done of this plan. Without such a plan all begins anew."""
        if self._plan() == plan:
            return self.done()
        self.clear()
        self._output.write(self.path(PLAN), plan.model_dump_json().encode())
        return {}

    def done(self) -> dict[int, Done]:
        """Finished shards by number."""
        found = {}
        for file in self._output.files(self._name):
            base = file.rpartition("/")[2]
            if base.startswith("shard-") and (one := self._read(file)) is not None:
                found[one.number] = one
        return found

    def fresh(self, number: int, ending: str) -> str:
        """A file for somebody's work on a shard, below the output's folder."""
        return self.path(f"{number:05d}-{uuid.uuid4().hex[:12]}.{ending}")

    def finish(self, done: Done) -> None:
        """Makes a shard done."""
        file = self.path(f"shard-{done.number:05d}.json")
        self._output.write(file, done.model_dump_json().encode())
        self._output.sync(file)

    def clear(self) -> None:
        """Removes all of it."""
        if self._output.files(self._name):
            self._output.remove(self._name)

    def _plan(self) -> Plan | None:
        text = self._output.read(self.path(PLAN))
        try:
            return None if text is None else Plan.model_validate_json(text)
        except ValidationError:
            return None  # It was cut off while it was written.

    def _read(self, file: str) -> Done | None:
        text = self._output.read(file)
        try:
            return None if text is None else Done.model_validate_json(text)
        except ValidationError:
            return None
