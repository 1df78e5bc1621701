"""A pod's worker: files are prepared, processes run, and the model is published."""

from __future__ import annotations

import json
import pickle
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from loopwright.api import names
from loopwright.api.trainingjob_status import Cause
from loopwright.cli.logs import RANKS
from loopwright.runtime import (
    channel,
    checkpoints,
    console,
    function,
    inputs,
    worker,
)
from loopwright.runtime.errors import RunError
from loopwright.runtime.modeldir import Published
from loopwright.runtime.storage import Folder
from loopwright.runtime.worker import Worker

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(autouse=True)
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pod's folders; nothing goes to the log of this container."""
    for name in ("PVC_DIR", "SCRIPT_DIR", "INPUTS_DIR"):
        (tmp_path / name.lower()).mkdir()
        monkeypatch.setattr(names, name, str(tmp_path / name.lower()))
    work = tmp_path / "work"
    for module in (inputs, worker):
        monkeypatch.setattr(module, "WORK", work)
    monkeypatch.setattr(worker, "STOPPING", work / "stopping")
    monkeypatch.setattr(console, "_container", lambda: None)
    monkeypatch.setenv("LOOPWRIGHT_RESUME_URI", "")
    monkeypatch.setenv(names.ENV_ATTEMPT, "2")
    return tmp_path


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Messages to the driver."""
    messages: list[dict[str, Any]] = []
    monkeypatch.setattr(channel, "send", messages.append)
    return messages


def made(script: str = "pass", **spec: Any) -> Worker:
    """The worker of a job that runs this script."""
    (Path(names.SCRIPT_DIR) / names.INLINE_SCRIPT_KEY).write_text(script)
    config = {
        "name": "digits",
        "namespace": "team",
        "uid": "u-1",
        "image": "runtime:1",
        "outputUri": "pvc://models/digits",
        "checkpointUri": "pvc://models/digits/checkpoints",
        "spec": {"script": {"inline": script}, **spec},
    }
    return Worker(json.dumps(config), {})


def test_a_script_finds_its_inputs_and_leaves_a_model(pod: Path, sent: list[Any]) -> None:
    (pod / "pvc_dir/data").mkdir()
    (pod / "pvc_dir/data/a.csv").write_text("1,2")
    script = """
import os, shutil
source = os.environ["SM_CHANNEL_TRAIN"] + "/a.csv"
shutil.copy(source, os.environ["SM_MODEL_DIR"] + "/model.csv")
print(os.environ["RANK"], os.environ["WORLD_SIZE"])
"""
    one = made(script, inputs=[{"name": "train", "source": {"uri": "pvc://data"}}])
    ended = one.run(0, 1, 1, "127.0.0.1", 29500)
    assert (ended.exit_code, ended.tail) == (0, "0 1")
    assert [message["type"] for message in sent] == ["input"]
    told = one.publish([{"name": "loss", "value": "1"}], [{"name": "train", "uri": "pvc://data"}])
    assert told is not None
    assert Published.model_validate_json(told).artifacts.model_uri == "pvc://models/digits/model"
    assert (pod / "pvc_dir/models/digits/model/model.csv").read_text() == "1,2"


def test_without_a_model_nothing_is_published(pod: Path) -> None:
    one = made("print()")
    one.run(0, 1, 1, "m", 1)
    assert one.publish([], []) is None
    assert (pod / "work/output").is_dir()


def test_a_failure_is_handed_on() -> None:
    ended = made("raise SystemExit('no data')").run(0, 1, 1, "m", 1)
    assert (ended.exit_code, ended.tail) == (1, "no data")


def test_each_process_of_a_pod_has_its_place(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import os; open(os.environ['RANK'], 'w').write(os.environ['LOCAL_RANK'])"
    monkeypatch.chdir(pod)
    assert made(script).run(1, 2, 2, "m", 1).exit_code == 0
    assert ((pod / "2").read_text(), (pod / "3").read_text()) == ("0", "1")


@pytest.mark.parametrize(
    ("place", "line"), [((1, 2, 2), "ranks 2 to 3 of 4"), ((1, 2, 1), "rank 1 of 2")]
)
def test_a_pod_says_which_ranks_it_runs(
    place: tuple[int, int, int], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made("print('trains')").run(*place, "m", 1)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"loopwright: {line}"
    assert RANKS.fullmatch(first)
    assert all(text.endswith("trains") for text in rest)


@pytest.mark.parametrize(("node", "count"), [(0, 1), (1, 0)])
def test_only_the_first_pod_is_measured(sent: list[Any], node: int, count: int) -> None:
    source = {"kind": "Stdout", "regex": ["loss=(?P<loss>[0-9.]+)"]}
    made("print('loss=0.5')", metrics={"source": source}).run(node, 2, 1, "m", 1)
    assert len([message for message in sent if message["type"] == "report"]) == count


def test_variables_of_the_driver_reach_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPWRIGHT_CHANNEL", "before")
    config = made("import os; print(os.environ['LOOPWRIGHT_CHANNEL'])")._config
    one = Worker(config.model_dump_json(by_alias=True), {"LOOPWRIGHT_CHANNEL": "h:1"})
    assert one.run(0, 1, 1, "m", 1).tail == "h:1"


def test_hyperparameters_are_in_a_file() -> None:
    script = (
        "import os; print(open(os.environ['SM_INPUT_CONFIG_DIR'] + '/hyperparameters.json').read())"
    )
    one = made(script, hyperparameters={"lr": "0.1"}, hyperparameterStyle="File")
    assert json.loads(one.run(0, 1, 1, "m", 1).tail) == {"lr": "0.1"}


def test_logs_are_stored_for_each_process(pod: Path) -> None:
    made("import os; print('rank', os.environ['RANK'])").run(1, 2, 2, "m", 1)
    folder = pod / "pvc_dir/models/digits/logs/attempt-2"
    found = {file.name: file.read_text() for file in folder.iterdir()}
    assert found == {"rank-2.log": "rank 2\n", "rank-3.log": "rank 3\n"}


def test_logs_that_cannot_be_stored_do_not_matter(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(folder: Folder, source: Path, name: str) -> str:
        raise RunError("NoSpace", "pvc://models: no space left")

    monkeypatch.setattr(Folder, "upload", refuse)
    assert made().run(0, 1, 1, "m", 1).exit_code == 0
    assert "the log was not stored: pvc://models: no space left" in capsys.readouterr().out


def test_the_processes_are_known_while_they_run(pod: Path) -> None:
    """The container's preStop hook tells them to stop, and waits until the file is gone."""
    script = f"import os; print(open({str(pod / 'work/processes')!r}).read(), os.getpid())"
    wait = f"""
import os, time
deadline = time.monotonic() + 10
while not os.path.exists({str(pod / "work/processes")!r}) and time.monotonic() < deadline:
    time.sleep(0.005)
"""
    told, pid = made(wait + script).run(0, 1, 1, "m", 1).tail.split()
    assert told == pid
    assert not (pod / "work/processes").exists()


def test_a_pod_that_was_told_to_stop_says_so(pod: Path) -> None:
    one = made()
    assert not one.told_to_stop()
    assert not one.run(0, 1, 1, "m", 1).stopped
    (pod / "work/stopping").touch()
    assert one.told_to_stop()
    assert one.run(0, 1, 1, "m", 1).stopped


def test_stopping_before_anything_runs_does_nothing() -> None:
    made().stop(0.1)


def test_an_address_has_a_free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostbyname", lambda name: f"address of {name}")
    host, port = made().address()
    assert host == f"address of {socket.gethostname()}"
    with socket.socket() as mine:
        mine.bind(("", port))


def local(pod: Path) -> dict[str, Any]:
    """A job whose script keeps checkpoints in a folder of its own."""
    return {"checkpoint": {"localPath": str(pod / "state"), "keep": 2}}


def test_a_local_folder_is_stored_at_the_end(pod: Path, sent: list[Any]) -> None:
    script = f"open({str(pod / 'state/last.bin')!r}, 'w').write('weights')"
    ended = made(script, **local(pod)).run(0, 1, 1, "m", 1)
    assert ended.exit_code == 0
    uri = checkpoints.to_resume(Folder("pvc://models/digits/checkpoints"), "None", "u-1")
    assert uri is not None
    assert sent == [{"type": "checkpoint", "uri": uri, "step": int(uri[-12:])}]
    back = checkpoints.restore(uri, None, pod / "back")
    assert (back / "last.bin").read_text() == "weights"


@pytest.mark.parametrize("node", [0, 1])
def test_an_empty_folder_or_another_pod_stores_nothing(
    pod: Path, sent: list[Any], node: int
) -> None:
    script = "pass" if node == 0 else f"open({str(pod / 'state/x')!r}, 'w').write('1')"
    made(script, **local(pod)).run(node, 2, 1, "m", 1)
    assert sent == []


def test_a_local_folder_is_restored_in_every_pod(
    pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pod / "old").mkdir()
    (pod / "old/last.bin").write_text("weights")
    folder = Folder("pvc://models/digits/checkpoints")
    uri = checkpoints.save(folder, pod / "old", 4, keep=2)
    monkeypatch.setenv("LOOPWRIGHT_RESUME_URI", uri)
    script = f"print(open({str(pod / 'state/last.bin')!r}).read())"
    assert made(script, **local(pod)).run(1, 2, 1, "m", 1).tail == "weights"


class Rounds:
    """In place of the event that ends copying: so many rounds, at once."""

    def __init__(self, rounds: int) -> None:
        self.left, self.waited = rounds, list[float]()

    def wait(self, seconds: float) -> bool:
        """Whether it is over."""
        self.waited.append(seconds)
        self.left -= 1
        return self.left < 0

    def set(self) -> None:
        """It is over."""
        self.left = 0


def test_a_folder_that_cannot_be_stored_is_tried_again(
    pod: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, rounds, saved = made(**local(pod)), Rounds(3), list[Path]()

    def save(path: Path) -> None:
        saved.append(path)
        if len(saved) < 3:
            raise RunError("NoSpace", "pvc://models: no space left")

    monkeypatch.setattr(one, "_stopped", rounds)
    monkeypatch.setattr(one, "_save", save)
    one._sync(pod / "state")
    assert saved == [pod / "state"] * 3
    assert rounds.waited == [300] * 4
    assert capsys.readouterr().out.count("checkpoint not stored: pvc://models: no space") == 2


def test_a_failure_is_told_although_its_state_cannot_be_stored(
    pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """retry.nonRetriableExitCodes need the code."""

    def save(path: Path) -> None:
        raise RunError("NoSpace", "pvc://models: no space left")

    one = made("raise SystemExit(3)", **local(pod))
    monkeypatch.setattr(one, "_save", save)
    assert one.run(0, 1, 1, "m", 1).exit_code == 3
    one = made("pass", **local(pod))
    monkeypatch.setattr(one, "_save", save)
    with pytest.raises(RunError, match="no space left"):
        one.run(0, 1, 1, "m", 1)


class Saving:
    """Saves, and notes when two do so at once. The first one takes until the script is over."""

    def __init__(self, over: Path) -> None:
        self._over, self._busy, self._second = over, threading.Lock(), threading.Event()
        self.overlapped, self.count = False, 0

    def __call__(self, path: Path) -> None:
        """In place of a worker's."""
        self.count += 1
        if not self._busy.acquire(blocking=False):
            self.overlapped = True
            self._second.set()
            return
        deadline = time.monotonic() + 10
        while not self._over.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        if self.count == 1:
            self._second.wait(0.5)
        self._busy.release()


def test_two_copies_are_never_made_at_once(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one would clear the first one away, as torn, while it is being written."""
    one = made(f"open({str(pod / 'over')!r}, 'w')", **local(pod))
    saving, rounds = Saving(pod / "over"), Rounds(1)
    monkeypatch.setattr(one, "_stopped", rounds)
    monkeypatch.setattr(one, "_save", saving)
    assert one.run(0, 1, 1, "m", 1).exit_code == 0
    assert saving.count == 2
    assert not saving.overlapped


def test_a_function_is_loaded(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pod / "their_code.py").write_text("def train(hps): return hps\nNUMBER = 4\n")
    monkeypatch.syspath_prepend(str(pod))
    assert function.load("their_code:train")({"a": "1"}) == {"a": "1"}
    sys.modules.pop("their_code")


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("no_such_module:train", "No module named 'no_such_module'; is it in the image"),
        ("json:train", "module json has no callable train"),
        ("json:__name__", "module json has no callable __name__"),
    ],
)
def test_what_is_missing_of_a_function_is_told(target: str, text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        function.load(target)
    assert f"function {target}: " in str(caught.value)
    assert text in str(caught.value)


def test_errors_cross_processes_whole() -> None:
    error = RunError("Killed", "for memory", Cause.INFRASTRUCTURE, -9)
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 (made here)
    assert isinstance(back, RunError)
    assert (back.reason, back.message) == ("Killed", "for memory")
    assert (back.cause, back.exit_code) == (Cause.INFRASTRUCTURE, -9)
    assert str(back) == "for memory"
