"""A sweep's state in storage, from where the next attempt goes on: the trials, in parts.

A trial is stored before it is started and when it has ended, so none is ever repeated or forgotten.
Only the part that it is in is written anew, so that the thousandth trial costs no more than the
first.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from loopwright.api import sweep_history
from loopwright.api.sweep_history import TrialRecord
from loopwright.runtime.storage import Folder

PART: Final = 40
# Between two writes of what trials report on the way.
INTERVAL: Final = 10.0


class Journal:
    """The trials of a sweep in a folder of storage."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._dirty: set[int] = set()
        self._written = time.monotonic()

    def load(self) -> list[TrialRecord]:
        """What earlier attempts have stored."""
        found: list[TrialRecord] = []
        for name in (file for file in self._folder.files("state") if file.endswith(".jsonl")):
            content = self._folder.read(name) or b""
            found += sweep_history.parse(content.decode(errors="replace"))
        return found

    def save(self, records: Mapping[int, TrialRecord], number: int) -> None:
        """Stores a trial now, and whatever else has changed in its part."""
        self._write(records, (number - 1) // PART)

    def later(self, records: Mapping[int, TrialRecord], number: int) -> None:
        """Stores a trial within some seconds; what was not stored, a lost trial reports again."""
        self._dirty.add((number - 1) // PART)
        if time.monotonic() - self._written >= INTERVAL:
            self.flush(records)

    def flush(self, records: Mapping[int, TrialRecord]) -> None:
        """Stores now what was to be stored later."""
        for part in sorted(self._dirty):
            self._write(records, part)

    def publish(self, records: Mapping[int, TrialRecord]) -> str:
        """Writes all trials to one file, and returns its URI."""
        text = sweep_history.lines(records[number] for number in sorted(records))
        self._folder.write(sweep_history.FILE, text.encode())
        return self._folder.child(sweep_history.FILE)

    def _write(self, records: Mapping[int, TrialRecord], part: int) -> None:
        numbers = range(part * PART + 1, (part + 1) * PART + 1)
        text = sweep_history.lines(records[n] for n in numbers if n in records)
        self._folder.replace(f"state/{part:03d}.jsonl", text.encode())
        self._dirty.discard(part)
        self._written = time.monotonic()
