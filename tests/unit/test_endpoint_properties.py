"""What must hold of every endpoint, whatever happens to it and in whatever order."""

from __future__ import annotations

import math
from typing import Any

from endpoint_worlds import EndpointWorld, variant
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwright.api.modelendpoint_status import Retired, VariantStatus
from loopwright.decide.rollout import percents
from loopwright.decide.traffic import Claimant, backends, percentages
from loopwright.decide.types import Blocked

PLENTY = settings(max_examples=400, deadline=None)
NAMES = st.sampled_from(["a", "b", "c", "d"])
SERVICES = st.none() | NAMES


@st.composite
def claimants(draw: st.DrawFn) -> list[Claimant]:
    """Variants with revisions of their own."""
    return [
        Claimant(
            name=f"v{number}",
            weight=draw(st.integers(0, 1000)),
            old=own(draw(SERVICES), number),
            new=own(draw(SERVICES), number),
            percent=draw(st.integers(0, 100)),
            spare=[str(own(name, number)) for name in draw(st.lists(NAMES, max_size=2))],
        )
        for number in range(draw(st.integers(1, 8)))
    ]


def own(name: str | None, number: int) -> str | None:
    return f"{name}{number}" if name else None


def mine(one: Claimant) -> set[str]:
    return {name for name in (one.old, one.new, *one.spare) if name}


@PLENTY
@given(claimants(), st.data())
def test_weight_goes_only_to_who_is_ready_and_to_somebody_if_any_is(
    asking: list[Claimant], data: st.DataObject
) -> None:
    everyone = sorted(set().union(*map(mine, asking)))
    ready = set(data.draw(st.lists(st.sampled_from(everyone)))) if everyone else set()
    found = backends(asking, ready)
    assert {one.inference_service for one in found} <= ready
    assert all(0 < one.weight <= 100_000 for one in found)
    able = [one for one in asking if one.weight and mine(one) & ready]
    assert {one.variant for one in found} == {one.name for one in able}
    # Those who are ready keep their relation to each other.
    for one in able:
        got = sum(b.weight for b in found if b.variant == one.name)
        assert got == one.weight * 100
    shares = percentages(found)
    assert sum(shares.values()) == (100 if found else 0)


@PLENTY
@given(claimants())
def test_the_old_revision_keeps_its_share(asking: list[Claimant]) -> None:
    ready = set().union(*map(mine, asking))
    for one in asking:
        if one.old and one.new and one.old != one.new:
            shares = dict(one.shares(ready))
            assert shares.get(one.old, 0) >= 100 - one.percent


STRATEGIES = st.sampled_from(["AllAtOnce", "Canary", "Linear", "Manual"])
PROBLEMS = [None, Blocked("Unschedulable", "no room"), Blocked("DigestMismatch", "!", True)]
FIGURES = st.fixed_dictionaries(
    {
        "state": st.sampled_from(["OK", "OK", "OK", "NoData", "Unknown"]),
        "errorRatio": st.sampled_from([0.0, 0.0, 0.5]),
        "p99Seconds": st.sampled_from([0.02, 0.02, 1.0]),
    }
)


class Life:
    """A world to which anything may happen; what must hold is checked after each event."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        rollout = {
            "strategy": draw(STRATEGIES),
            "bakeSeconds": draw(st.sampled_from([0, 20, 60])),
            "checkSeconds": 10,
            "maxDurationSeconds": 120,
            "keepPreviousSeconds": draw(st.sampled_from([0, 60])),
            "autoRollback": draw(st.sampled_from([True, True, True, False])),
        }
        self.world = EndpointWorld(variant("a"), variant("b", weight=7), rollout=rollout)
        self.world.step()
        self.former: list[Retired] = []

    def happens(self) -> None:
        """One event."""
        world, draw = self.world, self.draw
        before = {one.name: one for one in world.status.variants}
        self.former = [one for one in world.status.retired if one.proven]
        match draw(st.integers(0, 7)):
            case 0:
                world.wants(draw(st.sampled_from(["a", "b"])), draw(st.sampled_from(REVISIONS)))
            case 1:
                name = draw(st.sampled_from(["a", "b"]))
                world.targets[name] = Blocked("ModelNotFound", "it is missing")
            case 2 | 3:
                world.kserve()
            case 4 if world.views:
                name = draw(st.sampled_from(sorted(world.views)))
                world.ready(name, draw(st.integers(0, 1)), draw(st.sampled_from(PROBLEMS)))
            case 5:
                world.measured(**{name: draw(FIGURES) for name in REVISIONS})
            case 6:
                world.promote, world.rollback = draw(ANNOTATIONS), draw(ANNOTATIONS)
            case 7:
                world.spec = world.parsed({**world.spec.wire(), "suspend": draw(st.booleans())})
        world.step(draw(st.sampled_from([0, 1, 10, 40, 200])))
        self.check(before)

    def check(self, before: dict[str, VariantStatus]) -> None:
        world = self.world
        ready = {name for name, view in world.views.items() if view.serves}
        found = world.backends()
        assert {one.inference_service for one in found} <= ready
        assert len(world.status.retired) <= 32
        for one in world.status.variants:
            old = before[one.name]
            assert (one.next is None) == (one.rollout is None)
            if one.serving is None:
                assert old.serving is None
                continue
            if one.serving.inference_service in ready:
                assert one.name in {b.variant for b in found}
            rollout = one.rollout
            if rollout is not None:
                assert rollout.percent in {0, *percents(world.spec.rollout), 100}
                assert one.next is not None
                assert one.next.revision != one.serving.revision
            self.check_change(old, one)

    def check_change(self, old: VariantStatus, new: VariantStatus) -> None:
        """Another revision comes into use only from a rollout, or from before it."""
        assert new.serving is not None
        if old.serving is None or new.serving == old.serving:
            return
        former = {one.served.revision for one in self.former if one.variant == new.name}
        finished = old.next is not None and new.serving.revision == old.next.revision
        quick = self.world.spec.rollout.bake_seconds == 0
        assert finished or new.serving.revision in former or quick
        if finished and not quick and new.serving.revision not in former:
            assert old.rollout is not None
            assert old.rollout.percent == 100
        # What was in use stays for a while.
        assert old.serving in [one.served for one in self.world.status.retired]


REVISIONS = ["r1", "r2", "r3"]
ANNOTATIONS = st.sampled_from(["", "", "", *REVISIONS])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_happens_to_an_endpoint(data: st.DataObject) -> None:
    life = Life(data.draw)
    for _ in range(data.draw(st.integers(5, 25))):
        life.happens()
    settle(life)


def settle(life: Life) -> None:
    """When people and machines let it be, it serves what the spec says, or what it did before."""
    world = life.world
    world.spec = world.parsed({**world.spec.wire(), "suspend": False})
    world.promote = world.rollback = ""
    for name in ("a", "b"):
        world.wants(name, "r1")
    serving = {one.name: one.serving for one in world.status.variants}
    good = {name: {} for name in REVISIONS}
    world.views.clear()
    for _ in range(60):
        if world.spec.rollout.strategy == "Manual":
            world.promote = "r1"
        world.step(0).kserve().interval(**good)
    for one in world.status.variants:
        assert one.rollout is None
        assert one.serving is not None
        if one.rejected is not None:
            assert one.serving == serving[one.name]
        else:
            assert one.serving.revision == "r1"
    assert math.isclose(sum(percentages(world.backends()).values()), 100)
    assert world.status.retired == []
