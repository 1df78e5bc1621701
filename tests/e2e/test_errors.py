"""What people get wrong, and what the status then says."""

from __future__ import annotations

from typing import Any

import pytest
import scripts
from space import Space, training_job

pytestmark = pytest.mark.e2e

SECRET = {"secretRef": {"name": "s3-credentials"}}
WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "refused": (
        {"output": {"uri": "s3://loopwright/x", "secretRef": {"name": "wrong"}}},
        "StorageRefused",
        "check its secretRef",
    ),
    "no-bucket": ({"output": {"uri": "s3://elsewhere/x", **SECRET}}, "StorageNotFound", "create"),
    "no-script": (
        {"script": {"configMapRef": {"name": "code"}, "path": "main.py"}},
        "ScriptMissing",
        "main.py not found; there is: train.py",
    ),
    "bad-value": (
        {"hyperparameters": {"epochs": "many"}},
        "TrainingFailed",
        "invalid literal for int() with base 10: 'many'",
    ),
}


def test_mistakes_are_named_in_one_line(space: Space, s3: dict[str, str]) -> None:
    meta = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3-credentials"}}
    wrong = {**s3, "AWS_SECRET_ACCESS_KEY": "not-it"}
    space.apply(
        {**meta, "stringData": s3},
        {**meta, "metadata": {"name": "wrong"}, "stringData": wrong},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "code"},
            "data": {"train.py": scripts.QUICK},
        },
    )
    for name, (spec, _, _) in WRONG.items():
        job = training_job(name, scripts.COUNTING)
        job["spec"] |= spec
        space.apply(job)
    for name, (_, reason, text) in WRONG.items():
        status = space.phase(name, "Failed")
        error = status["lastError"]
        assert (error["reason"], error["retriable"]) == (reason, False), space.explain(name, status)
        assert text in error["message"]
        assert status["failures"] == {"application": 1, "infrastructure": 0}
