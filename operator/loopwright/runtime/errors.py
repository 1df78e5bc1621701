"""Failures of a run, told apart by whose fault they are."""

from __future__ import annotations

import traceback

from loopwright.api.trainingjob_status import Cause


class RunError(Exception):
    """A run cannot go on.

    Attributes:
        cause: Whose fault it is.
        reason: PascalCase, for the status.
        exit_code: Of the training code, when it ran.
        permanent: Whether trying again is pointless, as with data that is wrong.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        cause: Cause = Cause.APPLICATION,
        exit_code: int | None = None,
        permanent: bool = False,
    ) -> None:
        super().__init__(message)
        self.cause, self.reason, self.exit_code = cause, reason, exit_code
        self.message, self.permanent = message, permanent

    def __reduce__(self) -> tuple[object, ...]:
        """Exceptions cross Ray's process borders by pickle, which calls them with `args` alone."""
        return RunError, (self.reason, self.message, self.cause, self.exit_code, self.permanent)


def wrong(reason: str, message: str) -> RunError:
    """Data or settings that no second attempt makes right."""
    return RunError(reason, message, permanent=True)


def unexpected(error: Exception) -> RunError:
    """What broke in the driver itself. Without a report the operator could only say that it did."""
    traceback.print_exception(error)
    text = f"{type(error).__name__}: {error}"
    return RunError("RuntimeFailed", text, Cause.INFRASTRUCTURE)
