"""What can be wrong with a request, and with a server."""

from __future__ import annotations


class Refused(Exception):
    """A request that is not served; the message says what was expected.

    Attributes:
        status: Of HTTP.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message, self.status = message, status


class CannotServe(Exception):
    """Why this process must not serve: its model, or its settings.

    Attributes:
        reason: PascalCase, for a condition.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        # One line, and short: it ends up in a container's termination message.
        self.reason, self.message = reason, " ".join(message.split())[:900]

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"
