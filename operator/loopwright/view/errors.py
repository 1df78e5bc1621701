"""Why something cannot be shown, and what to do about it."""

from __future__ import annotations


class Trouble(Exception):
    """What was asked for cannot be done; shown as one line.

    Attributes:
        message: What is wrong.
        remedy: What to do about it, if that is known.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy

    def line(self) -> str:
        """Both in one line, without what a terminal would obey."""
        text = f"{self.message}; {self.remedy}" if self.remedy else self.message
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())


class NotThere(Trouble):
    """An object, or its kind, does not exist."""


class Refused(Trouble):
    """The API server does not let this user do it."""


class Misread(Trouble):
    """An object is not as this version knows them."""


class Unknown(Refused):
    """The API server does not know who asks."""
