"""Whole lives of a batch, decided step by step, and nothing decided twice."""

from __future__ import annotations

from typing import Any

import pytest
from batch_worlds import DIGEST, DONE, OUTPUTS, BatchWorld, batch_spec, model, shards
from pydantic import ValidationError
from worlds import condition, live

from loopwright.api.trainingjob_status import Phase
from loopwright.decide.types import Blocked, StartAttempt

LETTERS = "s3://b/out/_dead_letter"
BAD: dict[str, Any] = {
    **shards(4, failed=3),
    "problems": [{"reason": "WrongType", "count": 2, "message": "'x' is no number"}],
    "outputs": {**OUTPUTS, "deadLetterUri": LETTERS},
}


def test_a_batch_ends_with_what_it_published() -> None:
    world = BatchWorld()
    world.run()
    status = world.driver(1, "Running", **shards(1), recordsPerSecond="12.5", etaSeconds=3).step()
    assert (status.progress.percent, status.shards.finished) == (25, "1/4")
    assert (status.progress.records_per_second, status.records.written) == ("12.5", 10)
    assert condition(status, "OutputCommitted") == ("False", "NotPublished")
    status = world.driver(1, "Succeeded", **DONE).step()
    assert status.phase is Phase.SUCCEEDED
    assert condition(status, "Ready") == ("True", "Completed")
    assert condition(status, "OutputCommitted") == ("True", "Published")
    assert condition(status, "RecordsComplete") == ("True", "AllWritten")
    assert status.outputs.manifest_uri == OUTPUTS["manifestUri"]
    assert [one.ray_job for one in status.attempts] == ["job-b1"]


def test_what_runs_is_on_record_before_anything_is_made_and_stays() -> None:
    world = BatchWorld(retry={"maxApplicationFailures": 1, "backoffSeconds": 0})
    decision = world.decide()
    assert decision.actions == (StartAttempt(1),)
    assert decision.status.model == model("v1")
    world.run()
    # The alias moves on, and so may approval.
    world.means = Blocked("ModelNotApproved", "not approved")
    error = {"cause": "Application", "reason": "ModelFailed", "message": "why"}
    world.driver(1, "Failed", error=error).step()
    world.kuberay(1, "Failed", "FAILED").step()
    assert (world.status.attempt, world.status.model) == (2, model("v1"))
    assert condition(world.status, "ModelResolved") == ("True", "Resolved")


def test_a_model_that_nobody_vouches_for_stays_what_it_was_at_first() -> None:
    world = BatchWorld()
    world.means = model("v1").model_copy(update={"digest": None, "format": "sklearn"})
    world.run()
    world.driver(1, "Running", modelDigest=DIGEST).step()
    assert world.status.model == model("v1").model_copy(update={"format": "sklearn"})
    other = DIGEST.replace("0", "1")
    assert world.driver(1, "Running", modelDigest=other).step().model.digest == DIGEST


def test_a_model_that_cannot_be_run_holds_it_up_and_is_waited_for() -> None:
    world = BatchWorld()
    world.means = Blocked("ModelNotApproved", "ModelVersion 'digits-v1' is not approved")
    status = world.step()
    assert (status.phase, world.rayjobs) == (Phase.PENDING, {})
    assert condition(status, "Ready") == ("False", "ModelNotApproved")
    assert condition(status, "ModelResolved") == ("False", "ModelNotApproved")
    assert world.decision.requeue == 10
    assert [one.reason for one in world.decision.happenings] == ["ModelNotApproved"]
    assert not world.decide().happenings
    world.means = model("v1")
    world.run()
    assert condition(world.status, "ModelResolved") == ("True", "Resolved")


def test_bad_records_that_are_forgiven_are_told() -> None:
    world = BatchWorld(errors={"maxFailedRecords": 5})
    world.run()
    status = world.driver(1, "Succeeded", **BAD).step()
    assert status.phase is Phase.SUCCEEDED
    assert condition(status, "RecordsComplete") == ("False", "BadRecords")
    text = (
        "the batch succeeded; 3 of 40 records failed; 2 of them are WrongType: 'x' is no number;"
        f" see {LETTERS}"
    )
    assert world.decision.happenings[0].message == text
    assert next(one for one in status.conditions if one.type == "Ready").message == text


def test_what_monitors_say_of_a_batch_is_told() -> None:
    world = BatchWorld(
        monitors=[{"name": "drift", "kind": "DataDrift"}, {"name": "data", "kind": "DataQuality"}]
    )
    world.run()
    assert "DriftDetected" not in {one.type for one in world.step().conditions}
    uri = "s3://b/out/_drift/report.html"
    drift = {
        "name": "drift", "state": "Violated", "message": "DriftShare: 1, limit 0.5",
    }  # fmt: skip
    told = {**DONE, "outputs": {**OUTPUTS, "driftReportUri": uri}}
    verdicts = [drift, {"name": "data", "state": "NoData", "reason": "TooFewRows"}]
    status = world.driver(1, "Succeeded", **told, monitors=verdicts).step()
    assert status.phase is Phase.SUCCEEDED
    assert condition(status, "DriftDetected") == ("True", "Violated")
    assert condition(status, "DataQualityOK") == ("Unknown", "TooFewRows")
    message = world.decision.happenings[0].message
    assert message.endswith(f"monitor drift: DriftShare: 1, limit 0.5; see {uri}")
    assert world.step() is not None
    assert world.decision.happenings == ()


def test_too_many_bad_records_are_not_tried_again() -> None:
    world = BatchWorld(retry={"maxApplicationFailures": 5})
    world.run()
    error = {"cause": "Application", "reason": "TooManyBadRecords", "message": "3 of 40"}
    world.driver(1, "Failed", error={**error, "permanent": True}, **BAD)
    status = world.step()
    assert status.phase is Phase.FAILED
    assert condition(status, "Failed") == ("True", "TooManyBadRecords")
    assert status.outputs.dead_letter_uri == LETTERS


def test_a_batch_that_is_resumed_keeps_what_it_had() -> None:
    world = BatchWorld()
    world.run()
    world.driver(1, "Running", **shards(2)).step()
    world.suspend().step()
    assert (world.status.phase, world.rayjobs) == (Phase.SUSPENDED, {})
    assert world.status.shards.finished == "2/4"
    world.suspend(False)
    world.run()
    # A driver that has not listed the input yet takes nothing back.
    world.driver(2, "Starting", "r2").step()
    assert world.status.shards.finished == "2/4"
    status = world.driver(2, "Running", "r2", **shards(3, resumed=2)).step()
    assert (status.shards.finished, status.shards.resumed) == ("3/4", 2)


def test_another_number_of_workers_needs_another_cluster() -> None:
    world = BatchWorld(numWorkers=2)
    world.run()
    assert world.status.attempt_workers == 2
    world.driver(1, "Running", **shards(2)).step()
    world.change(num_workers=4).step()
    assert world.status.attempts[0].cause == "Suspended"
    assert world.decision.happenings[0].reason == "SpecChanged"
    world.step()
    assert (world.status.attempt, world.status.attempt_workers) == (2, 4)
    assert world.status.workers.desired == 4
    assert world.status.failures.infrastructure == 0
    assert len(live(world.rayjobs)) == 1


@pytest.mark.parametrize(
    ("spec", "report"),
    [({"resume": {"enabled": False}}, shards(2)), ({}, shards(4))],
    ids=["nothing is kept", "only publishing is left"],
)
def test_workers_stay_where_a_new_attempt_would_cost_more(
    spec: dict[str, Any], report: dict[str, Any]
) -> None:
    world = BatchWorld(**spec)
    world.run()
    world.driver(1, "Running", **report).step()
    world.change(num_workers=4).step()
    assert (world.status.attempt, world.status.phase) == (1, Phase.RUNNING)
    assert world.status.workers.desired == 1


def test_an_output_that_is_there_already_is_a_success() -> None:
    world = BatchWorld(output={"uri": "s3://b/out", "overwrite": "Skip"})
    world.run()
    status = world.driver(1, "Succeeded", skipped=True, outputs=OUTPUTS).step()
    assert status.phase is Phase.SUCCEEDED
    assert condition(status, "OutputCommitted") == ("True", "AlreadyThere")


RESULT = {"name": "input", "passed": True, "rows": 40, "checks": 7}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, ("False", "NotChecked")),
        (RESULT, ("True", "Passed")),
        ({**RESULT, "passed": False, "message": "age: 3 below 0"}, ("False", "ChecksFailed")),
    ],
)
def test_what_the_checks_found_is_a_condition(found: Any, said: tuple[str, str]) -> None:
    world = BatchWorld(validation={"minRows": 1})
    world.run()
    status = world.driver(1, "Running", **shards(0), validation=found).step()
    assert condition(status, "DataValidated") == said


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"output": {"uri": "s3://b/in"}}, "neither in input.uri nor round it"),
        ({"output": {"uri": "s3://b/in/out"}}, "neither in input.uri nor round it"),
        ({"output": {"uri": "s3://b/"}}, "neither in input.uri nor round it"),
        ({"errors": {"deadLetterUri": "s3://b/in/bad"}}, "would be read as input"),
        ({"resume": {"enabled": False}, "spot": {"enabled": True}}, "would lose all work"),
        ({"dataProcessing": {"inputFilter": "a"}}, "for example \\$.features"),
        (
            {"validation": {"minRows": 1}, "input": {"uri": "s3://b/x", "format": "text"}},
            "only csv, jsonl and parquet",
        ),
    ],
)
def test_specs_that_cannot_work_are_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        batch_spec(**spec)


def test_folders_whose_names_begin_alike_are_apart() -> None:
    assert batch_spec(output={"uri": "s3://b/in2"}).output_format == "csv"
    assert batch_spec(input={"uri": "s3://b/x/", "format": "images"}).output_format == "jsonl"
