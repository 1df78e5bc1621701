"""Runs kubectl against the cluster that this checkout uses, and reads its answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("LOOPWRIGHT_HOME", Path.home() / ".cache" / "loopwright"))


class KubectlError(RuntimeError):
    """kubectl refused; the message is what it printed."""


def program(name: str) -> str | None:
    """The embedded cluster's own program of that name, else PATH's."""
    own = HOME / "bin" / name
    return str(own) if own.exists() else shutil.which(name)


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
        found = program("kubectl")
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
        if files:
            self.run(*options, *(word for file in files for word in ("-f", str(file))))
        if text is not None:
            self.run(*options, "-f", "-", stdin=text)

    def wait_for_crds(self, seconds: float = 300) -> None:
        """Waits until all CRDs are served and kubectl knows their names.

        `kubectl wait` fails while one has no conditions yet. Discovery lags behind the condition,
        and kubectl would remember for hours what it read in between.

        Raises:
            KubectlError: one is not, in time.
        """
        deadline = time.monotonic() + seconds
        while missing := self._not_served():
            if time.monotonic() > deadline:
                raise KubectlError(f"not served after {seconds:.0f} s: {', '.join(missing)}")
            time.sleep(0.2)

    def _not_served(self) -> Sequence[str]:
        crds = self.list("crd")
        if missing := [crd["metadata"]["name"] for crd in crds if not _served(crd)]:
            return missing
        known = self.run("api-resources", "--cached=false", "-o", "name", check=False).split()
        return [name for crd in crds if (name := crd["metadata"]["name"]) not in known]


def _served(crd: Any) -> bool:
    conditions = crd.get("status", {}).get("conditions") or []
    return any((c["type"], c["status"]) == ("Established", "True") for c in conditions)
