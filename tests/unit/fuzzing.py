"""Fuzzing of parsers: what they are given, and how often they took or refused it.

In the unit tests each parser sees a few examples, always the same. `make fuzz` sets LOOPWRIGHT_FUZZ
to a number of new examples for each, and prints what became of them.
"""

from __future__ import annotations

import functools
import json
import os
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

LONG: Final = int(os.environ.get("LOOPWRIGHT_FUZZ", "0"))
COUNTS: Final[dict[str, Counter[str]]] = {}
"""By parser: how many examples it took, and how many it refused as it should."""

Verdict = Callable[..., bool]
"""Gives an example to a parser; whether it was taken. Only the documented error is a refusal."""


def fuzzed(parser: str, examples: int = 60, **strategies: Any) -> Callable[[Verdict], Any]:
    """A test of a parser, which is given examples of these strategies.

    Args:
        examples: How many of them in the unit tests.
    """

    def decorate(function: Verdict) -> Any:
        counts = COUNTS.setdefault(parser, Counter())

        @settings(
            max_examples=LONG or examples, derandomize=not LONG, database=None, deadline=None,
            suppress_health_check=[*HealthCheck],
        )  # fmt: skip
        @given(**strategies)
        @functools.wraps(function)
        def test(*args: Any, **kwargs: Any) -> None:
            counts["taken" if function(*args, **kwargs) else "refused"] += 1

        return test

    return decorate


_LEAVES: Final = st.one_of(
    st.none(), st.booleans(), st.text(max_size=8), st.integers(), st.floats(),
    st.sampled_from([2**63, 2**64, -(2**63) - 1, 1e308, 10**400, "", "\0", "../../etc/passwd",
                     "<b>",
                     "9999-12-31T23:59:59Z", "a" * 300, "NaN", [], {}]),
)  # fmt: skip
documents: Final = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
"""What JSON can hold, and Python's json writes."""


def _places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all parts of a document."""
    found = [at]
    if isinstance(document, dict):
        found += [one for key, part in document.items() for one in _places(part, (*at, key))]
    elif isinstance(document, list):
        found += [one for n, part in enumerate(document) for one in _places(part, (*at, n))]
    return found


@st.composite
def altered(draw: st.DrawFn, sample: Any) -> Any:
    """A document that was right, with some parts replaced, left out or repeated."""
    document = json.loads(json.dumps(sample))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(_places(document)))
        if not path:
            continue
        parent = functools.reduce(lambda part, key: part[key], path[:-1], document)
        what = draw(st.sampled_from(["replace", "drop", "more"]))
        if what == "drop":
            del parent[path[-1]]
        elif what == "more" and isinstance(parent, list):
            parent.extend([parent[path[-1]]] * draw(st.sampled_from([1, 5, 100])))
        else:
            parent[path[-1]] = draw(documents)
    return document


def text(document: Any) -> bytes:
    """As JSON; surrogates as no encoder writes them."""
    return json.dumps(document).encode()


@st.composite
def damaged(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """Bytes that were right, with some changed, cut out, put in or repeated."""
    data = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 4)):
            case 0:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del data[at : at + draw(st.integers(1, 40))]
            case 2:
                data[at:at] = draw(st.binary(max_size=12))
            case 3:
                data[at:at] = data[at : at + 64]
            case 4:
                size = draw(st.sampled_from([1, 2, 4, 8]))
                data[at : at + size] = draw(st.sampled_from([b"\xff", b"\0", b"\x7f"])) * size
    return bytes(data)


def table() -> list[str]:
    """Lines that say what became of all examples, for people."""
    lines = [f"{'parser':<44}{'taken':>9}{'refused':>9}"]
    for name, counts in sorted(COUNTS.items()):
        lines.append(f"{name:<44}{counts['taken']:>9}{counts['refused']:>9}")
    whole = sum(COUNTS.values(), Counter[str]())
    return [*lines, f"{'all':<44}{whole['taken']:>9}{whole['refused']:>9}"]
