"""Runs kubectl against the cluster that this checkout uses, and reads its answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("LOOPWRIGHT_HOME", Path.home() / ".cache" / "loopwright"))


class KubectlError(RuntimeError):
    """kubectl refused; the message is what it printed."""


class Kubectl:
    """kubectl with a fixed kubeconfig.

    Args:
        kubeconfig: The file to use; by default that of the embedded cluster.
        program: The kubectl to run; by default the embedded cluster's own, else PATH's.
    """

    def __init__(self, kubeconfig: Path | None = None, program: str | None = None) -> None:
        self.kubeconfig = kubeconfig or HOME / "run" / "admin.kubeconfig"
        self.program = program or self._find()

    @staticmethod
    def _find() -> str:
        own = HOME / "bin" / "kubectl"
        found = str(own) if own.exists() else shutil.which("kubectl")
        if found is None:
            raise KubectlError("no kubectl found; run `make cluster-up` first")
        return found

    def run(self, *args: str, stdin: str | None = None, check: bool = True) -> str:
        """Runs one command and returns what it printed.

        Raises:
            KubectlError: it failed and `check` is set.
        """
        done = subprocess.run(
            [self.program, "--kubeconfig", str(self.kubeconfig), *args],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(args[:4])}: {done.stderr.strip()}")
        return done.stdout

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any] | None:
        """One object, or None when there is none."""
        text = self.run("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def list(self, kind: str, namespace: str = "default", selector: str = "") -> Sequence[Any]:
        """All objects of a kind in a namespace."""
        text = self.run("get", kind, "-n", namespace, "-l", selector, "-o", "json")
        items: Sequence[Any] = json.loads(text)["items"]
        return items

    def apply(self, *files: Path, text: str | None = None, namespace: str | None = None) -> None:
        """Server-side applies files, or manifests given as text."""
        where = ["-n", namespace] if namespace else []
        options = ["apply", "--server-side", "--force-conflicts", *where]
        for file in files:
            self.run(*options, "-f", str(file))
        if text is not None:
            self.run(*options, "-f", "-", stdin=text)
