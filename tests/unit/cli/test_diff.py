"""`loopwright diff`: two versions side by side."""

from __future__ import annotations

import json

from cli_runs import run, same
from cli_worlds import done, job, version
from recorded import Recorded


def two() -> Recorded:
    """A version and a better one, of different data and hyperparameters."""
    later = job("Succeeded", "digits-2")
    later["spec"]["hyperparameters"] = {"lr": "0.003", "epochs": "20"}
    better = version("5f6a7b8c9d", "b", "0.981", "digits-2", aliases=[])
    return Recorded(*done().objects, later, better)


def test_side_by_side() -> None:
    shown = run(two(), "diff", "digits-0a1b2c3d4e", "mv/digits-5f6a7b8c9d")
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.stdout.splitlines())) <= 80
    same("diff", shown.stdout)


def test_for_programs() -> None:
    words = ("diff", "digits-0a1b2c3d4e", "digits-5f6a7b8c9d", "-o", "json")
    rows = json.loads(run(two(), *words).stdout)
    changed = {row["name"]: (row["left"], row["right"]) for row in rows if not row["same"]}
    assert changed["lr"] == ("0.01", "0.003")
    assert changed["accuracy"] == ("0.97", "0.981")
    assert "epochs" not in changed
    assert "inputs" not in changed


def test_another_job_of_the_name_lends_no_hyperparameters() -> None:
    world = two()
    world.objects[0]["metadata"]["uid"] = "another"
    words = ("diff", "digits-0a1b2c3d4e", "digits-5f6a7b8c9d", "-o", "json")
    rows = {row["name"]: row["left"] for row in json.loads(run(world, *words).stdout)}
    assert rows["lr"] == "-"


def test_only_versions_can_be_compared() -> None:
    shown = run(two(), "diff", "tj/digits", "digits-5f6a7b8c9d")
    assert shown.stderr == "loopwright: tj/digits is no version; name two ModelVersions\n"
