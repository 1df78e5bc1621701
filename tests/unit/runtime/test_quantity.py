"""Quantities, as Kubernetes writes them."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwright.api.quantity import PATTERN, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", "2"), ("0.5", "0.5"), ("500m", "0.5"), ("250u", "0.00025"), ("1n", "1e-9"),
        ("1k", "1000"), ("2M", "2e6"), ("1Ki", "1024"), ("4Gi", "4294967296"), ("1.5Ti", None),
        ("1e3", "1000"), ("1E3", "1000"), ("12e-1", "1.2"), ("1E", "1e18"), ("1Ei", None),
    ],
)  # fmt: skip
def test_values(text: str, value: str | None) -> None:
    expected = {"1.5Ti": Decimal("1.5") * 2**40, "1Ei": Decimal(2**60)}
    assert parse(text) == (expected[text] if value is None else Decimal(value))


@pytest.mark.parametrize(
    "text", ["", "Gi", "1 Gi", "-1", "+1", "1gb", "1ki", "1K", ".5", "1.", "1e", "\u0664", "1\n"]
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse(text)


numbers = st.from_regex(re.compile(r"[0-9]{1,6}(\.[0-9]{1,4})?", re.ASCII), fullmatch=True)
suffixes = st.sampled_from(["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi"])


@settings(derandomize=True, deadline=None, max_examples=40)
@given(numbers, suffixes)
def test_what_the_schema_admits_has_a_value(number: str, suffix: str) -> None:
    text = number + suffix
    assert re.fullmatch(PATTERN, text)
    assert parse(text) >= 0
    assert (parse(text) == 0) == (Decimal(number) == 0)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.text(alphabet="0123456789.eE+-numkKMGTPEi \n", max_size=8))
def test_text_is_a_quantity_or_a_value_error(text: str) -> None:
    try:
        value = parse(text)
    except ValueError:
        return
    assert value >= 0
