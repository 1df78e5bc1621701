"""What the real kstatus library concludes from the statuses that the operator decides."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from kubectl import HOME
from statuses import Case, cases

PROGRAM = HOME / "bin" / "kstatus"
CASES = cases()


@pytest.fixture(scope="module")
def results() -> dict[tuple[str, str], dict[str, str]]:
    """kstatus' result for each case."""
    assert PROGRAM.exists(), "run `make programs`"
    text = json.dumps([one.object for one in CASES])
    done = subprocess.run([PROGRAM], input=text, capture_output=True, text=True, check=True)
    found: list[dict[str, str]] = json.loads(done.stdout)
    return {(one.kind, one.name): it for one, it in zip(CASES, found, strict=True)}


@pytest.mark.parametrize("case", CASES, ids=[f"{one.kind}-{one.name}" for one in CASES])
def test_kstatus_agrees(case: Case, results: Any) -> None:
    found = results[case.kind, case.name]
    assert found["status"] == case.kstatus, found["message"]


def test_all_its_words_but_terminating_are_used(results: Any) -> None:
    assert {one["status"] for one in results.values()} == {"InProgress", "Failed", "Current"}
