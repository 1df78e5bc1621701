"""Failures of a run, told apart by whose fault they are."""

from __future__ import annotations

from loopwright.api.trainingjob_status import Cause


class RunError(Exception):
    """A run cannot go on.

    Attributes:
        cause: Whose fault it is.
        reason: PascalCase, for the status.
        exit_code: Of the training code, when it ran.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        cause: Cause = Cause.APPLICATION,
        exit_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.cause, self.reason, self.exit_code = cause, reason, exit_code
        self.message = message

    def __reduce__(self) -> tuple[object, ...]:
        """Exceptions cross Ray's process borders by pickle, which calls them with `args` alone."""
        return RunError, (self.reason, self.message, self.cause, self.exit_code)
