"""`loopwright status`, as people see it at 80 columns."""

from __future__ import annotations

import json

import pytest
from cli_runs import run, same
from cli_worlds import WORLDS, batch, done, endpoint, job, sweep, training
from recorded import Recorded, condition, own

from loopwright.cli import app as commands
from loopwright.view.refs import find
from loopwright.view.scene import look


@pytest.mark.parametrize("name", WORLDS)
def test_the_tree(name: str) -> None:
    world, ref = WORLDS[name]
    done = run(world(), "status", ref)
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    same(f"status-{name}", done.stdout)


@pytest.mark.parametrize("name", WORLDS)
def test_the_explanation(name: str) -> None:
    world, ref = WORLDS[name]
    done = run(world(), "explain", ref)
    assert done.exit_code == 0, done.output
    same(f"explain-{name}", done.stdout)


def test_the_table() -> None:
    worlds = (training(), sweep(), batch(), endpoint())
    objects = [one.objects[0] for one in worlds]
    waits = [condition("Ready", False, "ConfigMapNotFound", "there is no ConfigMap code")]
    objects.append(job("Pending", "waits", conditions=waits))
    objects += done().objects[1:]
    shown = run(Recorded(*objects), "status")
    assert max(map(len, shown.stdout.splitlines())) <= 80
    same("status-table", shown.stdout)


def test_an_empty_namespace() -> None:
    shown = run(Recorded(), "status")
    assert shown.stdout == ""
    assert shown.stderr == "loopwright: there is nothing of Loopwright in namespace n\n"


def test_for_programs() -> None:
    found = json.loads(run(training(), "status", "tj/digits", "-o", "json").stdout)
    assert found["kind"] == "TrainingJob"
    kinds = [one["kind"] for one in found["children"]]
    assert kinds == ["RayJob", "RayCluster", "Pod", "Pod", "Pod"]
    assert [one["kind"] for one in json.loads(run(sweep(), "status", "-o", "json").stdout)] == [
        "HyperparameterSweep"
    ]


def test_what_may_not_be_seen_is_said() -> None:
    world = training()
    world.refused = {"pods"}
    assert "not shown, for lack of rights: pods" in run(world, "status", "tj/digits").stdout


def test_an_older_tool_says_so() -> None:
    found = own("TrainingJob", "digits", {"function": "a:b", "output": {"uri": "s3://b/x"}}, {})
    found["status"] = {"phase": "Dreaming"}
    shown = run(Recorded(found), "status", "tj/digits")
    assert shown.exit_code == 1
    assert shown.stderr == (
        "loopwright: tj/digits cannot be understood at phase; use the loopwright of the"
        " operator's version\n"
    )


def test_watching_prints_each_change_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    world = training()
    later = [job("Running", progress={"percent": 75}), job("Running", progress={"percent": 75}),
             job("Succeeded")]  # fmt: skip

    def passes(seconds: float) -> None:
        world.objects[0] = later.pop(0)

    monkeypatch.setattr(commands.time, "sleep", passes)
    shown = run(world, "status", "tj/digits", "--watch")
    assert shown.exit_code == 0
    assert [line.split()[2:5] for line in shown.stdout.splitlines()] == [
        ["Running", "██████████░░░░░░░░░░", "50"],
        ["Running", "███████████████░░░░░", "75"],
        ["Succeeded"],
    ]


def test_watching_on_a_terminal_redraws_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    world, later = training(), [job("Succeeded")]
    monkeypatch.setattr(commands.time, "sleep", lambda _: world.objects.insert(0, later.pop()))
    shown = run(world, "status", "tj/digits", "-w")
    assert shown.exit_code == 0
    assert "RayCluster digits-a2-x" in shown.stdout
    assert shown.stdout.rindex("Succeeded") > shown.stdout.rindex("digits-a2-w1")


def test_watching_what_is_deleted_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    world = training()
    monkeypatch.setattr(commands.time, "sleep", lambda _: world.objects.clear())
    shown = run(world, "status", "tj/digits", "-w")
    assert (shown.exit_code, shown.stderr) == (1, "loopwright: tj/digits was deleted\n")


def test_watching_a_failure_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run(Recorded(job("Failed")), "status", "tj/digits", "-w")
    assert shown.exit_code == 1
    assert shown.stderr.endswith("tj/digits has failed; loopwright explain tj/digits\n")


def test_colours_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[" in run(training(), "status", "tj/digits").stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in run(training(), "status", "tj/digits").stdout


def test_texts_of_others_cannot_command_the_terminal() -> None:
    bad = [condition("Ready", False, "Invalid", "\x1b]0;title\x07 [red]is[/red] bad")]
    shown = run(Recorded(job("Pending", conditions=bad)), "status", "tj/digits").stdout
    assert "\x1b" not in shown
    assert "[red]is[/red] bad" in shown


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["status", "gone"], "there is no object gone in namespace n; loopwright status -n n lists"
         " what there is"),
        (["status", "tj/gone"], "there is no TrainingJob gone in namespace n; loopwright status"
         " -n n lists what there is"),
        (["status", "job/x"], "there is no kind job; kinds are tj, hps, bt, mdl, mv, mep, or their"
         " full names"),
        (["explain", "digits"], "digits is the name of several objects; say which: tj/digits,"
         " mdl/digits"),
        (["status", "--watch"], "--watch follows one object, for people; name it, without"
         " -o json"),
    ],
)  # fmt: skip
def test_errors_are_one_line(words: list[str], line: str) -> None:
    shown = run(done(), *words)
    assert (shown.exit_code, shown.stderr) == (1, f"loopwright: {line}\n")


def test_full_names_and_plurals_name_a_kind_too() -> None:
    for word in ("TrainingJob", "trainingjobs", "tj"):
        assert run(training(), "status", f"{word}/digits").exit_code == 0


def test_a_scene_knows_what_belongs_to_whom() -> None:
    world = training()
    scene = look(world, find(world, "tj/digits"))
    [cluster] = scene.of("RayCluster")
    assert [one["metadata"]["name"] for one in scene.below(cluster)] == [
        "digits-a2-head", "digits-a2-w0", "digits-a2-w1",
    ]  # fmt: skip
