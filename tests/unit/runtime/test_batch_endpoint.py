"""Batches that ask an endpoint: the same results as with the model itself, or whose fault it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batches import World, world
from fake_endpoint import NAME, Endpoint, Reply, Rows, answer, serving
from model_servers import servers

from loopwright.api.batch_report import BatchReport
from loopwright.api.report import RunState
from loopwright.api.trainingjob_status import Cause
from loopwright.runtime.batch import remote
from ports import free_port

pytestmark = pytest.mark.timeout(60)

ROWS = [[float(n), 0.1 * n, 0.5] for n in range(32)]


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A claim with a model that the endpoint has too."""
    return world(tmp_path, monkeypatch)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An endpoint."""
    with serving() as found:
        yield found


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds between tries, which nobody waits for."""
    found: list[float] = []
    monkeypatch.setattr(remote, "rest", lambda _, seconds: found.append(seconds))
    return found


def write(batch: World, rows: Rows = ROWS, name: str = "a.jsonl") -> None:
    """Rows of the input."""
    lines = (json.dumps({"x": row, "id": n}) for n, row in enumerate(rows))
    batch.write(name, "".join(f"{line}\n" for line in lines))


def run(batch: World, endpoint: Endpoint | str, **spec: Any) -> BatchReport:
    """An attempt; four mini-batches at once of four rows each, unless the spec says otherwise."""
    url = endpoint if isinstance(endpoint, str) else endpoint.url
    return batch.run(batch.config(endpoint={"name": NAME, "url": url}, **spec))


def failure(report: BatchReport) -> tuple[Cause, str, bool]:
    """Whose fault, which, and whether for good."""
    assert report.error is not None
    return report.error.cause, report.error.reason, report.error.permanent


def parts(batch: World, out: str) -> dict[str, bytes]:
    """Published results."""
    return {name: text for name, text in batch.published(out).items() if name.startswith("part-")}


def test_results_are_those_of_the_model_itself(batch: World, endpoint: Endpoint) -> None:
    write(batch)
    joined = {"joinSource": "Input"}
    batch.run(batch.config(output={"uri": "pvc://data/local"}, dataProcessing=joined))
    report = run(batch, endpoint, dataProcessing=joined)
    assert report.state is RunState.SUCCEEDED, report
    assert parts(batch, "out") == parts(batch, "local") != {}
    manifest = json.loads(batch.published()["_manifest.json"])
    assert manifest["endpoint"] == {"name": NAME, "answered": ["main.0123abcd"]}
    assert manifest["modelDigest"] is None
    assert report.model_digest is None


def test_results_are_in_order_though_answers_are_not(batch: World, endpoint: Endpoint) -> None:
    write(batch)
    together, turn, answered = threading.Barrier(8), threading.Condition(), [0]

    def reversed_(number: int, rows: Rows) -> Reply:
        # All eight must be here at once, and the last to come is the first to be answered.
        together.wait(timeout=30)
        with turn:
            turn.wait_for(lambda: answered[0] == 8 - number)
            answered[0] += 1
            turn.notify_all()
        return answer(rows)

    endpoint.reply = reversed_
    batching = {"batchSize": 4, "maxConcurrent": 8}
    assert run(batch, endpoint, batching=batching).state is RunState.SUCCEEDED
    expected = [np.asarray(answer([row])[2]["outputs"][0]["data"]).tolist() for row in ROWS]
    assert np.allclose([row["y"] for row in batch.rows()], expected)


def test_no_more_requests_are_under_way_than_may_be(batch: World, endpoint: Endpoint) -> None:
    write(batch)
    lock, now, most = threading.Lock(), [0], [0]

    def counted(_: int, rows: Rows) -> Reply:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        found = answer(rows)
        with lock:
            now[0] -= 1
        return found

    endpoint.reply = counted
    run(batch, endpoint, batching={"batchSize": 1, "maxConcurrent": 2})
    assert len(endpoint.asked) == len(ROWS)
    assert most[0] <= 2


@pytest.mark.parametrize("status", [404, 408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again(
    batch: World, endpoint: Endpoint, rests: list[float], status: int
) -> None:
    write(batch, ROWS[:4])
    endpoint.reply = lambda n, rows: (status, {}, {"error": "no"}) if n < 4 else answer(rows)
    assert run(batch, endpoint).state is RunState.SUCCEEDED
    assert endpoint.asked == [endpoint.asked[0]] * 4
    assert len(batch.rows()) == 4
    assert len(rests) == 3
    # Longer and longer, by chance a half of it at least.
    for number, seconds in enumerate(rests):
        whole = remote.FIRST_PAUSE * 2**number
        assert whole / 2 <= seconds <= whole


def test_a_server_that_says_when_is_asked_then(
    batch: World, endpoint: Endpoint, rests: list[float]
) -> None:
    write(batch, ROWS[:4])
    told = {2: {"Retry-After": "soon"}}
    endpoint.reply = lambda n, rows: (
        (429, told.get(n, {"Retry-After": "7"}), {}) if n < 3 else answer(rows)
    )
    assert run(batch, endpoint).state is RunState.SUCCEEDED
    assert rests[0] == 7
    # What is no time is no reason to fail.
    assert len(rests) == 2
    assert rests[1] <= 2 * remote.FIRST_PAUSE


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_record_is_a_dead_letter(batch: World, endpoint: Endpoint, status: int) -> None:
    write(batch)
    bad = np.float32(ROWS[13][0])

    def picky(_: int, rows: Rows) -> Reply:
        if any(row[0] == bad for row in rows):
            return status, {}, {"error": "thirteen"}
        return answer(rows)

    endpoint.reply = picky
    options = {"joinSource": "Input", "outputFilter": "$.id"}
    report = run(batch, endpoint, errors={"maxFailedRecords": 1}, dataProcessing=options)
    assert (report.records.written, report.records.failed) == (31, 1)
    assert batch.rows() == [n for n in range(32) if n != 13]
    [letter] = batch.letters()
    assert (letter["line"], letter["reason"]) == (14, "ModelError")
    assert letter["message"] == f"HTTP {status}: thirteen"


def test_who_does_not_answer_is_left_and_what_is_done_stays(
    batch: World, endpoint: Endpoint, rests: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(batch, ROWS[:4], "a.jsonl")
    write(batch, ROWS[4:], "b.jsonl")
    monkeypatch.setattr(remote, "PATIENCE", 0.0)
    endpoint.reply = lambda n, rows: answer(rows) if n == 1 else (503, {}, {"error": "busy"})
    single = {"batchSize": 4, "maxConcurrent": 1}
    report = run(batch, endpoint, batching=single)
    assert failure(report) == (Cause.INFRASTRUCTURE, "EndpointUnavailable", False)
    assert report.error is not None and "HTTP 503: busy" in report.error.message
    assert batch.rows() == []
    endpoint.reply, first = (lambda _, rows: answer(rows)), len(endpoint.asked)
    report = run(batch, endpoint, batching=single)
    assert (report.state, report.shards.resumed) == (RunState.SUCCEEDED, 1)
    assert sum(len(rows) for rows in endpoint.asked[first:]) == 28
    assert len(batch.rows()) == 32


def test_all_give_up_for_the_same_reason(
    batch: World, endpoint: Endpoint, rests: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(batch)
    monkeypatch.setattr(remote, "PATIENCE", 0.0)
    endpoint.reply = lambda *_: (503, {}, {"error": "busy"})
    report = run(batch, endpoint, batching={"batchSize": 1, "maxConcurrent": 8})
    assert failure(report) == (Cause.INFRASTRUCTURE, "EndpointUnavailable", False)
    assert report.error is not None and "HTTP 503: busy" in report.error.message


def test_who_is_not_there_is_no_fault_of_the_data(
    batch: World, rests: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(batch)
    monkeypatch.setattr(remote, "PATIENCE", 0.0)
    report = run(batch, f"http://127.0.0.1:{free_port()}", errors={"maxFailedRecords": 100})
    assert failure(report) == (Cause.INFRASTRUCTURE, "EndpointUnavailable", False)


@pytest.mark.parametrize("status", [301, 401, 403, 405])
def test_a_refusal_that_is_not_about_records_blames_none(
    batch: World, endpoint: Endpoint, status: int
) -> None:
    write(batch)
    endpoint.reply = lambda *_: (status, {"Location": "/elsewhere"}, {"error": "not you"})
    report = run(batch, endpoint, errors={"maxFailedRecords": 100})
    assert failure(report) == (Cause.APPLICATION, "EndpointRefused", True)
    assert report.error is not None and f"HTTP {status}: not you" in report.error.message
    assert batch.letters() == []


@pytest.mark.parametrize(
    "described",
    [
        [], {}, "text", {"inputs": [], "outputs": []}, {"inputs": ["x"], "outputs": []},
        {"inputs": [{"name": "x"}], "outputs": []},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": None}], "outputs": []},
        {"inputs": [{"name": "x", "datatype": "FP99", "shape": [-1]}], "outputs": []},
    ],
)  # fmt: skip
def test_who_does_not_describe_its_model_cannot_be_asked(
    batch: World, endpoint: Endpoint, described: Any
) -> None:
    write(batch)
    endpoint.described = described
    report = run(batch, endpoint, errors={"maxFailedRecords": 100})
    assert failure(report) == (Cause.APPLICATION, "EndpointRefused", True)
    assert endpoint.asked == []


def output(**more: Any) -> Any:
    """An answer of four rows."""
    made = {"name": "y", "datatype": "FP32", "shape": [4, 1], "data": [1, 2, 3, 4], **more}
    return {"outputs": [made]}


@pytest.mark.parametrize(
    "body",
    [
        [], None, {"outputs": "y"}, {"outputs": []}, output(name="z"), output(shape=[]),
        output(shape=[-1]), output(shape=[5, 1]), output(shape="4"), output(data=None),
        output(data=["a"] * 4), output(datatype="FP99"), output(datatype="BYTES", shape=[3]),
    ],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_no_result(
    batch: World, endpoint: Endpoint, body: Any
) -> None:
    write(batch)
    endpoint.reply = lambda *_: (200, {}, body)
    report = run(batch, endpoint, errors={"maxFailedRecords": 100})
    assert failure(report) == (Cause.APPLICATION, "EndpointRefused", True)


def test_too_few_rows_are_no_result(batch: World, endpoint: Endpoint) -> None:
    write(batch)
    endpoint.reply = lambda _, rows: answer(rows[1:])
    report = run(batch, endpoint, errors={"maxFailedRecords": 100})
    assert failure(report) == (Cause.APPLICATION, "ModelInvalid", True)


@pytest.mark.parametrize(
    ("told", "rows"),
    [
        ({"data": [1.5, None, 3, 4]}, [1.5, None, 3, 4]),
        ({"datatype": "BYTES", "data": ["a", "b", "c", "d"]}, ["a", "b", "c", "d"]),
        ({"datatype": "UINT64", "data": [1, 2, 3, 2**64 - 1]}, [1, 2, 3, 2**64 - 1]),
        ({"datatype": "BOOL", "data": [True, False, True, True]}, [True, False, True, True]),
        ({"data": [[1], [2], [3], [4]]}, [1, 2, 3, 4]),
        ({"shape": [4, 0], "data": []}, [[]] * 4),
    ],
    ids=["missing", "text", "large", "yes or no", "nested", "nothing"],
)
def test_outputs_of_every_type(
    batch: World, endpoint: Endpoint, told: dict[str, Any], rows: list[Any]
) -> None:
    write(batch, ROWS[:4])
    endpoint.reply = lambda *_: (200, {}, output(**told))
    report = run(batch, endpoint)
    assert report.state is RunState.SUCCEEDED, report
    assert [row["y"] for row in batch.rows()] == rows
    assert json.loads(batch.published()["_manifest.json"])["endpoint"]["answered"] == []


def test_a_server_of_loopwright(batch: World, tmp_path: Path) -> None:
    rows = [[None, 2.0, 3.0] if n == 9 else row for n, row in enumerate(ROWS)]
    write(batch, rows)  # type: ignore[arg-type]
    errors = {"maxFailedRecords": 1}
    batch.run(batch.config(output={"uri": "pvc://data/local"}, errors=errors))
    with servers(tmp_path) as start:
        server = start(
            model_name=NAME, model_dir=batch.root / "model", model_digest=batch.digest
        ).wait_ready()
        report = run(batch, server.url, errors=errors)
    assert report.state is RunState.SUCCEEDED, report
    assert (report.records.written, report.records.failed) == (31, 1)
    assert parts(batch, "out") == parts(batch, "local") != {}
    manifest = json.loads(batch.published()["_manifest.json"])
    assert manifest["endpoint"]["answered"] == [f"-.{batch.digest.removeprefix('sha256:')[:8]}"]
