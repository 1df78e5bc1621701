"""Tells what comes again from what is new, in memory of a fixed size."""

from __future__ import annotations

import hashlib
from array import array
from typing import Final

# Newest ones that are told from what comes again: half a megabyte.
REMEMBERED: Final = 1 << 16


class Seen:
    """What came lately."""

    def __init__(self) -> None:
        # Each has one place, where it displaces another.
        self._marks = array("Q", bytes(8 * REMEMBERED))

    def again(self, what: str) -> bool:
        """Whether it came before, as far as is remembered; it is remembered now."""
        mark = int.from_bytes(hashlib.blake2b(what.encode(), digest_size=8).digest()) or 1
        place = mark % REMEMBERED
        if self._marks[place] == mark:
            return True
        self._marks[place] = mark
        return False
