"""Finds the programs of Prometheus, which judge rules and expressions."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from kubectl import HOME


class PromtoolError(RuntimeError):
    """promtool refused; the message is what it printed."""


def find(name: str) -> str:
    """The path of `prometheus` or `promtool`: the cache's own, else PATH's.

    Raises:
        PromtoolError: there is none.
    """
    own = HOME / "bin" / name
    found = str(own) if own.exists() else shutil.which(name)
    if found is None:
        raise PromtoolError(f"no {name} found; run `make programs`, or put Prometheus on PATH")
    return found


def promtool(*words: str, folder: Path) -> str:
    """Runs promtool in a folder, and returns what it printed.

    Raises:
        PromtoolError: it failed.
    """
    done = subprocess.run(
        [find("promtool"), *words], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise PromtoolError(f"promtool {' '.join(words[:2])}: {done.stdout}{done.stderr}".strip())
    return done.stdout
