"""Says what became of all examples, where that was asked for."""

from __future__ import annotations

from typing import Any

import fuzzing


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Called by pytest at the end."""
    if fuzzing.LONG:
        terminalreporter.section("fuzzed")
        for line in fuzzing.table():
            terminalreporter.write_line(line)
