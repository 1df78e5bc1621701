"""`loopwright logs`: from pods while there are any, else from storage."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from cli_runs import run
from cli_worlds import done, endpoint, failed, job, model, training
from recorded import Recorded, pod, thing, waiting

from loopwright.cli import stored
from loopwright.view.errors import Trouble

LOG = "/api/v1/namespaces/n/pods/{}/log"


def ranks() -> Recorded:
    """A head and two workers of two ranks each."""
    world = Recorded(job(attempt=1))
    for name, node in (("head", "head"), ("w-b", "worker"), ("w-a", "worker")):
        world.objects.append(pod(name, "TrainingJob", "digits", node=node))
    world.pages = {
        LOG.format("head"): b"ray\ndriver\n",
        LOG.format("w-a"): b"ray\nloopwright: ranks 2 to 3 of 4\n[0] two\n[1] three\n",
        LOG.format("w-b"): b"ray\nloopwright: ranks 0 to 1 of 4\n[0] zero\n[1] one",
    }
    return world


def test_all_pods_with_their_names() -> None:
    shown = run(ranks(), "logs", "tj/digits", "--tail", "5")
    assert shown.stdout.splitlines() == [
        "head | ray", "head | driver",
        "w-a | ray", "w-a | loopwright: ranks 2 to 3 of 4", "w-a | [0] two", "w-a | [1] three",
        "w-b | ray", "w-b | loopwright: ranks 0 to 1 of 4", "w-b | [0] zero", "w-b | [1] one",
    ]  # fmt: skip


def test_one_pod_needs_no_name() -> None:
    world = ranks()
    del world.objects[2:]
    assert run(world, "logs", "tj/digits").stdout == "ray\ndriver\n"


@pytest.mark.parametrize(("rank", "text"), [(0, "zero"), (1, "one"), (2, "two"), (3, "three")])
def test_a_rank_is_found_by_what_its_pod_says(rank: int, text: str) -> None:
    assert run(ranks(), "logs", "tj/digits", "--rank", str(rank)).stdout == f"{text}\n"


def test_a_rank_that_nobody_has() -> None:
    shown = run(ranks(), "logs", "tj/digits", "--rank", "4")
    assert shown.stderr == (
        "loopwright: no pod says that it runs rank 4; see the log of all without --rank\n"
    )


def test_a_rank_alone_in_its_pod_is_shown_whole() -> None:
    world = ranks()
    world.pages[LOG.format("w-a")] = b"ray\nloopwright: rank 1 of 2\nepoch 1\n"
    shown = run(world, "logs", "tj/digits", "--rank", "1")
    assert shown.stdout == "ray\nloopwright: rank 1 of 2\nepoch 1\n"


def test_following_ends_when_all_have_ended() -> None:
    world = ranks()
    shown = run(world, "logs", "tj/digits", "-f")
    assert sorted(shown.stdout.splitlines()) == sorted(
        run(ranks(), "logs", "tj/digits").stdout.splitlines()
    )
    queries = [query for _, path, query, _ in world.asked if path.endswith("/log")]
    assert all(one["follow"] == "true" for one in queries)


def test_a_log_that_breaks_off_is_an_error() -> None:
    world = ranks()
    world.pages[LOG.format("w-a")] = Trouble("gone")
    assert run(world, "logs", "tj/digits", "-f").stderr == "loopwright: gone\n"


def test_pods_of_other_attempts_and_those_that_wait_are_left_out() -> None:
    world = ranks()
    world.objects[0]["status"]["attempt"] = 2
    world.objects.append(pod("late", "TrainingJob", "digits", attempt=2,
                             status=waiting("ContainerCreating")))  # fmt: skip
    assert "no pods that have begun" in run(world, "logs", "tj/digits").stderr
    assert "two" in run(world, "logs", "tj/digits", "--attempt", "1").stdout


def test_of_an_endpoint() -> None:
    world = endpoint()
    world.pages[LOG.format("digits-main-0")] = b"served\n"
    assert run(world, "logs", "mep/digits").stdout == "served\n"
    assert "are for jobs" in run(world, "logs", "mep/digits", "--rank", "0").stderr


def test_what_has_no_log() -> None:
    assert "has no log" in run(Recorded(model()), "logs", "mdl/digits").stderr


class Bucket:
    """Remembers how it was opened; stands for pyarrow's."""

    opened: dict[str, Any]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open_input_stream(self, path: str) -> Any:
        return (self.folder / path.replace("/", "_")).open("rb")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket of files in a folder."""
    found = Bucket(tmp_path)

    def opened(_: Any, keys: dict[str, str]) -> Bucket:
        found.opened = keys
        return found

    monkeypatch.setattr(stored, "_bucket", opened)
    return found


def keys() -> dict[str, Any]:
    """The Secret of the job."""
    return thing("Secret", "s3-credentials",
                 data={"AWS_ACCESS_KEY_ID": base64.b64encode(b"me").decode()})  # fmt: skip


def test_what_is_stored_is_read_with_the_jobs_credentials(bucket: Bucket) -> None:
    world = failed()
    world.objects.append(keys())
    (bucket.folder / "models_digits_logs_attempt-1_rank-3.log").write_text("a bug\n")
    assert run(world, "logs", "tj/digits", "--rank", "3").stdout == "a bug\n"
    assert bucket.opened == {"AWS_ACCESS_KEY_ID": "me"}


def test_a_stored_log_that_is_not_there(bucket: Bucket) -> None:
    world = done()
    world.objects.append(keys())
    shown = run(world, "logs", "tj/digits", "--attempt", "2")
    uri = "s3://models/digits/logs/attempt-2/rank-0.log"
    assert shown.stderr == f"loopwright: there is no {uri}\n"


def test_without_the_secret() -> None:
    shown = run(failed(), "logs", "tj/digits")
    assert shown.stderr == (
        "loopwright: there is no Secret s3-credentials; create it, as the job needs it too\n"
    )


def test_on_a_claim_it_says_where() -> None:
    with pytest.raises(Trouble) as caught:
        stored.fetch(training(), "pvc://results/x/report.html", None)
    assert caught.value.line() == (
        "pvc://results/x/report.html is on claim results, which this tool cannot read;"
        " read x/report.html in a pod that mounts the claim"
    )
