"""Proposals: inside of the space, repeatable, and the same after a driver was lost."""

from __future__ import annotations

import itertools
import random

import pytest
from sweeps import NOW, PARAMETERS, loss, play, spec

from loopwright.api.hyperparametersweep_status import TrialState
from loopwright.runtime.tune.proposals import Known, Proposals
from loopwright.runtime.tune.space import Space
from loopwright.runtime.tune.study import Outcome, Study

ALGORITHMS = ("random", "sobol", "tpe", "cmaes", "nsga2")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_parameters_lie_in_their_space(algorithm: str) -> None:
    wanted = spec(algorithm, maxTrials=20)
    space = Space(wanted.parameters)
    proposed = play(Study("s", wanted), Proposals(wanted, 3))
    assert len(proposed) == 20
    for one in proposed:
        assert space.values(one) is not None
        assert 0 <= float(one["x"]) <= 1
        assert 0.0001 <= float(one["lr"]) <= 0.1
        assert one["layers"] in "123456789"
        assert one["kind"] in ("a", "b", "c")
        assert one["drop"] in ("0", "0.1", "0.2", "0.3", "0.4", "0.5")
    assert len({one["x"] for one in proposed}) == 20


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_lost_driver_changes_no_proposal(algorithm: str) -> None:
    wanted = spec(algorithm, maxTrials=16)
    undisturbed = play(Study("s", wanted), Proposals(wanted, 3))
    first = Study("s", wanted)
    before = play(first, Proposals(wanted, 3), until=lambda number: number == 9)
    # One more had been proposed, and stored, but not ended.
    proposals = Proposals(wanted, 3)
    proposals.replay(first.records.values())
    unfinished = proposals.ask(9)
    assert unfinished is not None
    first.begin(9, unfinished, NOW)
    second, again = Study("s", wanted, first.records.values()), Proposals(wanted, 3)
    again.replay(second.records.values())
    assert before + play(second, again) == undisturbed
    assert second.records[9].tries == 2


def test_another_seed_proposes_otherwise() -> None:
    wanted = spec(maxTrials=3)
    one, other = (play(Study("s", wanted), Proposals(wanted, seed)) for seed in (1, 2))
    assert not [pair for pair in zip(one, other, strict=True) if pair[0]["x"] == pair[1]["x"]]


def test_what_a_library_proposes_otherwise_now_stays_as_it_was() -> None:
    wanted = spec("tpe", maxTrials=4)
    study = Study("s", wanted)
    study.begin(1, {"x": "0.25", **_rest()}, NOW)
    proposals = Proposals(wanted, 3)
    proposals.replay(study.records.values())
    study.report(1, 1, {"loss": 1.0})
    proposals.tell(study.end(1, Outcome(TrialState.SUCCEEDED), NOW, 1))
    told = [t.params["x"] for t in proposals._study.trials if t.values]
    assert told == [0.25]


def _rest() -> dict[str, str]:
    return {"lr": "0.01", "layers": "2", "noise": "5.0", "kind": "a", "drop": "0.1"}


def test_a_grid_has_each_point_once() -> None:
    axes = [
        {"name": "a", "int": {"min": 1, "max": 5, "step": 2}},
        {"name": "b", "categorical": {"choices": ["u", "v"]}},
        {"name": "c", "uniform": {"min": "0", "max": "0.3", "step": "0.1"}},
    ]
    wanted = spec("grid", parameters=axes, maxTrials=100)
    proposals = Proposals(wanted, 1)
    found = []
    for number in itertools.count(1):
        one = proposals.ask(number)
        if one is None:
            break
        found.append((one["a"], one["b"], one["c"]))
    points = itertools.product(["1", "3", "5"], ["u", "v"], ["0", "0.1", "0.2", "0.3"])
    assert sorted(found) == sorted(points)
    assert found != sorted(found)


def test_a_grid_without_end_is_no_trouble() -> None:
    axes = [{"name": name, "int": {"min": 1, "max": 10**12}} for name in "abc"]
    grid = Space(spec("grid", parameters=axes).parameters).grid(3)
    assert len(grid) == len({tuple(point.values()) for point in grid}) == 1000


def test_what_is_known_is_learnt_from() -> None:
    wanted = spec(maxTrials=12, algorithm={"tpe": {"startupTrials": 5}})
    chance = random.Random(1)  # noqa: S311
    known: list[Known] = []
    for _ in range(40):
        near = {**_rest(), "x": repr(0.3 + chance.uniform(-0.3, 0.3)), "drop": "0"}
        known.append((near, [loss(near)]))
    known.append(({"x": "7", **_rest()}, [0.0]))  # Outside of the space.
    known.append(({"x": "0.5"}, [0.0]))  # Not all of its parameters.
    proposals = Proposals(wanted, 3, known)
    assert len(proposals._study.trials) == 40
    warm = play(Study("s", wanted), proposals)
    cold = play(Study("s", wanted), Proposals(wanted, 3))
    assert sum(map(loss, warm)) < sum(map(loss, cold))


@pytest.mark.parametrize("text", ["0", "1", "0.5", "1e-1"])
def test_text_and_value_are_the_same(text: str) -> None:
    space = Space(spec().parameters)
    values = space.values({**_rest(), "x": text})
    assert values is not None
    assert float(space.texts(values)["x"]) == float(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [("x", "1.1"), ("x", "much"), ("layers", "10"), ("layers", "1.5"), ("kind", "d"), ("lr", "0")],
)
def test_what_lies_outside_has_no_value(name: str, text: str) -> None:
    assert Space(spec().parameters).values({"x": "0.5", **_rest(), name: text}) is None


def test_a_normal_parameter_has_its_mean_and_spread() -> None:
    wanted = spec(maxTrials=400)
    proposals = Proposals(wanted, 3)
    found = [float((proposals.ask(number) or {})["noise"]) for number in range(1, 401)]
    mean = sum(found) / 400
    assert mean == pytest.approx(5, abs=0.4)
    assert (sum((one - mean) ** 2 for one in found) / 400) ** 0.5 == pytest.approx(2, abs=0.3)


def test_perturbed_parameters_stay_in_the_space() -> None:
    space, chance = Space(spec().parameters), random.Random(4)  # noqa: S311
    one, seen = {"x": "0.5", **_rest()}, set()
    for _ in range(200):
        one = space.perturbed(one, chance)
        assert space.values(one) is not None
        seen.add((one["kind"], one["layers"], one["drop"]))
    assert len(seen) > 20
    assert len(PARAMETERS) == len(one)
