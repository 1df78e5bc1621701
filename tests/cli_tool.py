"""The command line tool as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from kubectl import ROOT


class Tool:
    """Runs commands in a namespace."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.namespace = namespace
        self.env = {
            **os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(ROOT / "operator"),
            "COLUMNS": "80", "PYTHONIOENCODING": "utf-8",
        }  # fmt: skip

    def words(self, *words: str) -> list[str]:
        """A command line."""
        return [sys.executable, "-m", "loopwright.cli", *words, "-n", self.namespace]

    def run(self, *words: str, code: int | None = 0) -> str:
        """What a command prints; errors come after the rest. None: however it ends."""
        done = subprocess.run(self.words(*words), env=self.env, capture_output=True, text=True)
        assert code in (None, done.returncode), done.stdout + done.stderr
        return done.stdout + done.stderr
