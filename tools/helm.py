"""Runs Helm on the charts of this repository."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from kubectl import ROOT, program

CHART = ROOT / "charts" / "loopwright"
CRDS = ROOT / "charts" / "loopwright-crds"

Values = dict[str, Any]


class HelmError(RuntimeError):
    """Helm refused; the message is what it printed."""


class Helm:
    """Helm on one cluster, or on none for those who only render.

    Args:
        kubeconfig: The cluster's.
    """

    def __init__(self, kubeconfig: Path | None = None) -> None:
        self.cluster = [] if kubeconfig is None else ["--kubeconfig", str(kubeconfig)]
        self.program = self._find()

    @staticmethod
    def _find() -> str:
        found = program("helm")
        if found is None:
            raise HelmError("no helm found; run `make programs`, or put Helm 4 on PATH")
        return found

    def run(self, *args: str | Path, values: Values | None = None) -> str:
        """Runs one command and returns what it printed.

        Args:
            values: Given as its values.

        Raises:
            HelmError: it failed.
        """
        given = [] if values is None else ["--values", "-"]
        done = subprocess.run(
            [self.program, *self.cluster, *map(str, args), *given],
            input=None if values is None else json.dumps(values),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise HelmError(f"helm {args[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def upgrade(self, release: str, chart: Path, namespace: str, values: Values) -> str:
        """Installs a release, or brings it up to date; what kubectl had applied becomes part of it.

        Raises:
            HelmError: it was refused.
        """
        # Fields that kubectl had applied, or scaled, would otherwise be conflicts.
        options = ("--take-ownership", "--server-side=true", "--force-conflicts")
        return self.run(
            "upgrade", "--install", release, chart, "--namespace", namespace, *options,
            values=values,
        )  # fmt: skip

    def template(
        self, release: str, chart: Path, namespace: str, values: Values, *options: str
    ) -> str:
        """The manifests that a release would consist of.

        Raises:
            HelmError: the values are refused.
        """
        return self.run(
            "template", release, chart, "--namespace", namespace, *options, values=values
        )
