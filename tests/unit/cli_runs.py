"""Runs commands of the tool against a recorded cluster."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

from recorded import Recorded
from typer.testing import CliRunner, Result

from loopwright.cli import app as commands
from loopwright.cli.app import app

GOLDEN = Path(__file__).parent / "cli" / "golden"


def same(name: str, text: str) -> None:
    """Compares with a stored text; LOOPWRIGHT_GOLDEN=write stores it anew."""
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("LOOPWRIGHT_GOLDEN") == "write":
        file.write_text(text)
    assert text == file.read_text()


def run(world: Recorded, *words: str, stdin: str | None = None) -> Result:
    """What a command prints, and how it ends."""
    with mock.patch.object(commands, "load", return_value=world):
        return CliRunner(env={"COLUMNS": "80"}).invoke(app, words, input=stdin)
