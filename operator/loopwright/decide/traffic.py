"""Who gets which part of the traffic: relative weights in, weights of backends out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from loopwright.api.modelendpoint_status import VariantStatus


@dataclass(frozen=True)
class Backend:
    """A revision that gets traffic."""

    variant: str
    inference_service: str
    weight: int
    """Relative to the other backends', above 0."""


@dataclass(frozen=True)
class Claimant:
    """A variant that wants traffic."""

    name: str
    weight: int
    """Relative to the other variants'."""
    old: str | None
    """InferenceService of the revision in use."""
    new: str | None = None
    """That of the revision that a rollout leads to."""
    percent: int = 0
    """The new one's share in the variant's traffic."""
    spare: Sequence[str] = ()
    """Those of revisions that were in use before and still run."""

    @classmethod
    def of(cls, status: VariantStatus, weight: int, spare: Sequence[str] = ()) -> Claimant:
        """A variant as its status describes it."""
        return cls(
            name=status.name,
            weight=weight,
            old=status.serving.inference_service if status.serving else None,
            new=status.next.inference_service if status.next else None,
            percent=status.rollout.percent if status.rollout else 0,
            spare=spare,
        )

    def shares(self, ready: Collection[str]) -> list[tuple[str, int]]:
        """The percentages of revisions that are ready, 100 in sum; none when none is ready.

        What one that is not ready should get goes to the other. One that should get nothing yet, or
        nothing any more, helps out when nobody else is there.
        """
        wanted = [(self.old, 100 - self.percent), (self.new, self.percent)]
        able = [(name, share) for name, share in wanted if name in ready]
        some = [(name, share) for name, share in able if share > 0]
        if len(some) == 2:
            return [(str(name), share) for name, share in some]
        for name in (*(one for one, _ in some), *(one for one, _ in able), *self.spare):
            if name in ready:
                return [(str(name), 100)]
        return []


def backends(claimants: Iterable[Claimant], ready: Collection[str]) -> list[Backend]:
    """Backends with weights above 0; none only when no variant with a weight has a ready revision.

    A variant without a ready revision gets nothing, and the others share in proportion.
    """
    return [
        Backend(one.name, service, one.weight * share)
        for one in claimants
        if one.weight > 0
        for service, share in one.shares(ready)
    ]


def percentages(found: Sequence[Backend]) -> dict[str, int]:
    """Percent of the traffic by variant, for people: rounded so that the sum is 100."""
    total = sum(one.weight for one in found)
    sums: dict[str, int] = {}
    for one in found:
        sums[one.variant] = sums.get(one.variant, 0) + one.weight
    whole = {name: 100 * weight // total for name, weight in sums.items()}
    rest = {name: 100 * weight % total for name, weight in sums.items()}
    for name in sorted(rest, key=lambda one: (-rest[one], one))[: 100 - sum(whole.values())]:
        whole[name] += 1
    return whole
