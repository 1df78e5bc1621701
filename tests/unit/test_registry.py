"""A model and its versions: aliases, approval, retention, and nothing said twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loopwright.api.conditions import Condition
from loopwright.api.registry import Approval, Model, ModelSpec, ModelStatus
from loopwright.decide.conditions import refused
from loopwright.decide.registry import ByItself, Verdict, Version, approvable, decide, pointed

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
PENDING = Approval()
APPROVED = Approval.model_validate({"state": "Approved", "by": "ada", "reason": "checked"})
REJECTED = Approval.model_validate({"state": "Rejected", "by": "bob"})


def version(number: int, approval: Approval = PENDING, *wants: str, **more: Any) -> Version:
    """The n-th version of the model m."""
    when = f"2025-01-{number:02d}T00:00:00Z"
    return Version(f"m-v{number}", f"v{number}", when, 1, approval, wants, **more)


def model(status: ModelStatus | None = None, **spec: Any) -> Model:
    return Model(spec=ModelSpec.model_validate(spec), status=status or ModelStatus())


def judged(model: Model | None, *versions: Version, used: tuple[str, ...] = ()) -> Verdict:
    return decide("m", model, 1, versions, used, NOW)


def condition(conditions: list[Condition], kind: str) -> tuple[str, str]:
    [found] = [one for one in conditions if one.type == kind]
    return found.status.value, found.reason


def aliases(model: Model, *versions: Version) -> dict[str, str]:
    found = judged(model, *versions).model
    assert found is not None
    return found.aliases


def test_a_wanted_alias_follows_the_newest_that_may_be_used() -> None:
    one, two, three = (version(n, PENDING, "live") for n in (1, 2, 3))
    assert aliases(model(), three, one, two) == {"live": "v3"}
    assert aliases(model(), one, two, replace(three, approval=REJECTED)) == {"live": "v2"}
    strict = model(requireApproval=True)
    assert aliases(strict, one, two, three) == {}
    assert aliases(strict, replace(one, approval=APPROVED), two, three) == {"live": "v1"}


def test_the_spec_has_the_last_word_on_an_alias() -> None:
    one, two = version(1), version(2, PENDING, "live")
    assert aliases(model(aliases={"live": "v1"}), one, two) == {"live": "v1"}
    # It waits for its version, and does not fall back to one that nobody has named.
    assert aliases(model(aliases={"live": "v9"}), one, two) == {}


def test_versions_that_ask_too_much_break_nothing() -> None:
    many = [version(n, PENDING, *(f"a{n}-{i}" for i in range(8))) for n in range(1, 60)]
    found = pointed(ModelSpec.model_validate({"aliases": {"live": "v1"}}), many)
    assert len(found) == 256
    assert found["live"] == "v1"


def test_a_model_says_what_its_aliases_wait_for() -> None:
    found = judged(model(aliases={"live": "v2"}), version(1)).model
    assert found is not None
    assert (found.versions, found.latest_version) == (1, "v1")
    assert condition(found.conditions, "Ready") == ("False", "AliasUnresolved")
    assert condition(found.conditions, "Reconciling")[0] == "True"
    [told] = [one.message for one in found.conditions if one.type == "Ready"]
    assert told.startswith("alias 'live' names version 'v2', which does not exist")
    waiting = judged(model(aliases={"live": "v1"}, requireApproval=True), version(1)).model
    assert waiting is not None
    assert "not approved" in waiting.conditions[0].message
    ready = judged(model(aliases={"live": "v1"}), version(1)).model
    assert ready is not None
    assert condition(ready.conditions, "Ready") == ("True", "Ready")


def test_the_stages_of_a_version() -> None:
    def stage(model: Model | None, approval: Approval) -> str | None:
        found = judged(model, version(1, approval)).versions["m-v1"]
        return found.phase and found.phase.value

    assert stage(model(), PENDING) == "Registered"
    assert stage(model(requireApproval=True), PENDING) == "PendingApproval"
    assert stage(model(), APPROVED) == "Approved"
    assert stage(model(), REJECTED) == "Rejected"
    assert stage(None, PENDING) is None


def test_a_version_without_its_model_waits_for_it() -> None:
    verdict = judged(None, version(1))
    found = verdict.versions["m-v1"]
    assert verdict.model is None
    assert condition(found.conditions, "Ready") == ("False", "ModelNotFound")
    assert condition(found.conditions, "Reconciling")[0] == "True"


def test_who_approved_and_when_is_on_record() -> None:
    one = version(1, APPROVED)
    found = judged(model(), one).versions["m-v1"]
    assert (found.approved_by, found.approved_at) == ("ada", NOW)
    assert condition(found.conditions, "Approved") == ("True", "Approved")
    again = decide("m", model(), 1, [replace(one, status=found.wire())], (), LATER)
    assert (again.versions, again.approvals) == ({}, {})
    taken = judged(model(), replace(one, approval=REJECTED, status=found.wire()))
    assert taken.versions["m-v1"].approved_by is None
    assert [told.message for told in taken.approvals["m-v1"]] == ["rejected by bob"]


def test_retention_spares_what_somebody_needs() -> None:
    versions = [
        version(1), version(2, APPROVED), version(3, PENDING, "live"), version(4), version(5),
        version(6, REJECTED), version(7), version(8),
    ]  # fmt: skip
    keep = model(retention={"keep": 2}, aliases={"next": "v4"})
    assert judged(keep, *versions, used=("m-v5",)).expired == ("m-v1", "m-v6")
    assert judged(model(), *versions).expired == ()
    # An alias that waits for approval needs its version too.
    waits = model(retention={"keep": 2}, aliases={"next": "v1"}, requireApproval=True)
    assert "m-v1" not in judged(waits, *versions).expired


def test_moves_of_aliases_are_told() -> None:
    before = ModelStatus(aliases={"live": "v1", "old": "v1"})
    moved = judged(model(before), version(1), version(2, PENDING, "live")).moved
    assert [told.message for told in moved] == [
        "alias 'live' points to version v2; it was version v1",
        "alias 'old' is gone; it was version v1",
    ]


def test_a_model_that_makes_no_sense_says_so() -> None:
    found = refused(ModelStatus(), 3, "aliases: why", NOW)
    assert found.observed_generation == 3
    assert condition(found.conditions, "Stalled") == ("True", "InvalidSpec")


def automatic(**more: Any) -> Model:
    """A model whose versions are approved by themselves from an accuracy of 0.9 on."""
    policy = {"requireMetrics": [{"metric": "acc", "min": "0.9"}], **more}
    return model(requireApproval=True, autoApprove=policy)


def scored(number: int, accuracy: str, approval: Approval = PENDING, **more: Any) -> Version:
    return version(number, approval, "live", metrics={"acc": accuracy}, **more)


def test_the_newest_that_keeps_the_bounds_is_approved() -> None:
    spec = automatic().spec
    one, two, three = scored(1, "0.93"), scored(2, "0.95"), scored(3, "0.8")
    assert approvable(spec, [three, two, one]) == (
        two, "acc is 0.95, at least 0.9 is asked for",
    )  # fmt: skip
    assert approvable(spec, [three]) is None
    assert approvable(model(requireApproval=True).spec, [two]) is None
    for bad in ("nan", "fast", ""):
        assert approvable(spec, [scored(1, bad)]) is None
    assert approvable(spec, [version(1)]) is None


def test_what_people_decided_stands() -> None:
    spec = automatic().spec
    good = scored(1, "0.95")
    for decided in (APPROVED, REJECTED):
        assert approvable(spec, [replace(good, approval=decided)]) is None
    # Somebody has taken the decision back: it is theirs.
    assert approvable(spec, [replace(good, generation=3)]) is None


def test_a_version_must_keep_up_with_the_one_in_use() -> None:
    metrics = [
        {"metric": "acc", "direction": "Maximize", "tolerance": "0.1"},
        {"metric": "loss", "direction": "Minimize"},
    ]
    keeps = automatic(notWorseThan={"alias": "live", "metrics": metrics}).spec
    live = replace(scored(1, "1", APPROVED), metrics={"acc": "1", "loss": "0.30"})

    def said(accuracy: str, loss: str, *others: Version) -> str | None:
        new = replace(scored(2, accuracy), metrics={"acc": accuracy, "loss": loss})
        found = approvable(keeps, [*others, new])
        return found and found[1]

    # Exactly as much worse as it may be: no float would say so of 1 - 0.1.
    assert said("0.9", "0.3", live) == (
        "acc is 0.9, at least 0.9 is asked for; "
        "acc is 0.9, not worse by more than 0.1 than 1 of version v1, which alias 'live' points"
        " to; loss is 0.3, not worse by more than 0 than 0.30 of version v1, which alias 'live'"
        " points to"
    )
    assert said("0.99", "0.31", live) is None
    # Nothing to be worse than.
    assert said("0.9", "9") is not None
    assert said("0.9", "9", replace(live, approval=PENDING, generation=3)) is not None
    # What cannot be compared is no reason to approve.
    for unknown in ({}, {"acc": "1"}, {"acc": "1", "loss": "nan"}):
        assert said("0.95", "0.1", replace(live, metrics=unknown)) is None
    assert said("0.95", "inf", live) is None


def test_a_version_that_waits_says_what_it_lacks() -> None:
    def told(one: Version, refused: str | None = None) -> str:
        verdict = decide("m", automatic(), 1, [one], (), NOW, ByItself(refused=refused))
        [found] = [c for c in verdict.versions["m-v1"].conditions if c.type == "Approved"]
        assert found.reason == "Pending"
        return found.message

    assert told(scored(1, "0.8")) == (
        "spec.autoApprove of the Model asks for more: acc is 0.8, below 0.9"
    )
    assert told(scored(1, "0.95"), "no right") == "no right"
    assert told(replace(scored(1, "0.8"), generation=3)) == ""
    assert condition(judged(automatic(), scored(1, "0.8")).versions["m-v1"].conditions, "Ready")


def test_what_was_approved_by_itself_expires() -> None:
    by = Approval.model_validate({"state": "Approved", "by": "loopwright"})
    keep = model(requireApproval=True, retention={"keep": 1})
    versions = [version(1, by), version(2, APPROVED), version(3, by, "live"), version(4, by)]
    found = decide("m", keep, 1, versions, (), NOW, ByItself("loopwright"))
    assert found.expired == ("m-v1",)
    assert decide("m", keep, 1, versions, (), NOW).expired == ()


approvals = st.sampled_from([PENDING, APPROVED, REJECTED])
wanted = st.lists(st.sampled_from(["live", "next"]), unique=True).map(tuple)
some = st.lists(st.tuples(approvals, wanted), max_size=6).map(
    lambda found: [version(n, one, *wants) for n, (one, wants) in enumerate(found, 1)]
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "requireApproval": st.booleans(),
        "aliases": st.dictionaries(st.sampled_from(["live", "x"]), st.sampled_from(["v1", "v9"])),
        "retention": st.just({"keep": 1}),
    },
)


@given(specs, some)
def test_nothing_is_decided_twice(spec: dict[str, Any], versions: list[Version]) -> None:
    first = judged(model(**spec), *versions)
    assert first.model is not None
    stored = [replace(one, status=first.versions[one.name].wire()) for one in versions]
    again = decide("m", model(first.model, **spec), 1, stored, (), LATER)
    assert (again.model, again.versions, again.approvals) == (first.model, {}, {})
    assert not again.moved
    # What expires is needed by no alias, and nobody has approved it.
    gone = {one.version: one.approval for one in versions if one.name in first.expired}
    assert not gone.keys() & {*first.model.aliases.values(), *spec.get("aliases", {}).values()}
    assert APPROVED not in gone.values()
