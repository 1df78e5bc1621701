"""JSONPath filters: of columns where a path only names some, else of each record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jsonpath
from jsonpath.selectors import NameSelector

from loopwright.runtime.batch.records import Bad
from loopwright.runtime.errors import wrong


class Filter:
    """A JSONPath.

    A path that can match only once gives what it matches; any other a list of all matches.
    """

    def __init__(self, text: str, field: str) -> None:
        self.text = text
        try:
            self._path: Any = jsonpath.compile(text)
        except jsonpath.JSONPathError as error:
            raise wrong("FilterInvalid", f"{field}: {text} is no JSONPath: {error}") from error
        self.single = False
        self.names: list[str] | None = None
        """The fields that it selects, when it does nothing else."""
        # What remains is a union of paths.
        if isinstance(self._path, jsonpath.JSONPath):
            self.single = self._path.singular_query()
            self.names = _named(self._path.segments)

    def columns(self, names: Sequence[str]) -> list[str] | None:
        """Those of the columns that it names; None when it does more than that."""
        if self.names is None:
            return None
        return [name for name in dict.fromkeys(self.names) if name in names]

    def named(self, record: Any) -> Any:
        """What it finds, by name where it names several fields of an object.

        Raises:
            Bad: nothing.
        """
        if isinstance(record, dict) and not self.single:
            chosen = self.columns(list(record))
            if chosen:
                return {name: record[name] for name in chosen}
        return self.of(record)

    def of(self, record: Any) -> Any:
        """What it finds in a record.

        Raises:
            Bad: nothing.
        """
        try:
            found = self._path.findall(record)
        except jsonpath.JSONPathError as error:
            raise Bad(
                "FilterEmpty", f"{self.text} makes no sense of the record: {error}"
            ) from error
        if not found:
            raise Bad("FilterEmpty", f"{self.text} finds nothing in the record")
        return found[0] if self.single else found


def _named(segments: Sequence[Any]) -> list[str] | None:
    """Names of fields, if that is all."""
    selectors = segments[0].selectors if len(segments) == 1 else ()
    if not selectors or not all(isinstance(one, NameSelector) for one in selectors):
        return None
    return [one.name for one in selectors]
