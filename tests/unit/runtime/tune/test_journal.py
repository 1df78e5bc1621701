"""A sweep's state in storage: whole, small to write, and read back in any case."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeps import play, spec

from loopwright.api import names, sweep_history
from loopwright.runtime.storage import Folder
from loopwright.runtime.tune import journal as module
from loopwright.runtime.tune.journal import PART, Journal
from loopwright.runtime.tune.proposals import Proposals
from loopwright.runtime.tune.study import Study

COUNT = PART * 2 + 5


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A sweep's folder on a claim."""
    monkeypatch.setattr(names, "PVC_DIR", str(tmp_path))
    return Folder("pvc://models/s")


@pytest.fixture(scope="module")
def study() -> Study:
    """A study of several parts."""
    wanted = spec(maxTrials=COUNT)
    made = Study("s", wanted)
    play(made, Proposals(wanted, 1))
    return made


def files(folder: Folder) -> list[str]:
    """Those of the state."""
    return folder.files("state")


def test_trials_are_read_as_they_were_stored(folder: Folder, study: Study) -> None:
    journal = Journal(folder)
    for number in study.records:
        journal.save(study.records, number)
    assert files(folder) == ["state/000.jsonl", "state/001.jsonl", "state/002.jsonl"]
    assert Journal(folder).load() == list(study.records.values())


def test_only_the_part_of_a_trial_is_written(
    folder: Folder, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(Folder, "replace", lambda _, name, content: written.append(name))
    Journal(folder).save(study.records, PART + 1)
    assert written == ["state/001.jsonl"]


def test_what_trials_report_is_stored_now_and_then(
    folder: Folder, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    journal = Journal(folder)
    journal.later(study.records, 1)
    journal.later(study.records, PART + 1)
    assert files(folder) == []
    journal.flush(study.records)
    assert files(folder) == ["state/000.jsonl", "state/001.jsonl"]
    folder.remove("state")
    journal.flush(study.records)
    assert files(folder) == []
    journal.later(study.records, PART + 1)
    now[0] = module.INTERVAL
    journal.later(study.records, 2)
    assert files(folder) == ["state/000.jsonl", "state/001.jsonl"]


def test_a_file_that_was_cut_off_loses_its_last_trial_only(folder: Folder, study: Study) -> None:
    Journal(folder).save(study.records, 1)
    text = folder.read("state/000.jsonl") or b""
    folder.write("state/000.jsonl", text[:-50])
    assert [one.number for one in Journal(folder).load()] == list(range(1, PART))


def test_a_write_that_was_cut_off_leaves_what_was_there(
    folder: Folder, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(folder)
    journal.save(study.records, 1)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "move", crash)
        with pytest.raises(KeyboardInterrupt):
            journal.save(study.records, 2)
    assert len(Journal(folder).load()) == PART


def test_the_history_is_one_file(folder: Folder, study: Study) -> None:
    uri = Journal(folder).publish(study.records)
    assert uri == "pvc://models/s/history.jsonl"
    text = (folder.read("history.jsonl") or b"").decode()
    assert sweep_history.parse(text) == list(study.records.values())
