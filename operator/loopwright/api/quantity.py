"""Kubernetes resource quantities: the type in our specs, and their value as a number."""

from __future__ import annotations

import re
from decimal import ROUND_UP, Context, Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

PATTERN: Final = r"^([0-9]{1,19}(\.[0-9]{1,9})?)([eE]([+-]?[0-9])|([numkMGTPE]|[KMGTPE]i))?$"
INT64_MAX: Final = 2**63 - 1
_SHAPE: Final = re.compile(PATTERN)
# 19 digits before the point and 9 after it, times up to 10^18.
_EXACT: Final = Context(prec=64, rounding=ROUND_UP)
_SUFFIX: Final = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}


def parse(value: str) -> Decimal:
    """The number that a quantity like `500m` or `2Gi` stands for.

    As in Kubernetes it has at most nine decimals, rounded up; with a suffix like Ki, 64 bits.

    Raises:
        ValueError: the text is not a non-negative Kubernetes quantity.
    """
    shape = _SHAPE.fullmatch(value)
    if shape is None:
        raise ValueError(f"{value!r} is not a quantity; write for example 500m, 2 or 4Gi")
    number, _, _, exponent, suffix = shape.groups()
    unit = Decimal(10) ** int(exponent) if exponent is not None else _SUFFIX.get(suffix, Decimal(1))
    amount = _EXACT.multiply(Decimal(number), unit)
    if suffix is not None and suffix.endswith("i"):
        amount = min(amount, Decimal(INT64_MAX))
    return amount.quantize(_SUFFIX["n"], context=_EXACT)


def times(value: str, factor: int) -> str:
    """So many times a quantity, as far as a quantity can say that.

    Raises:
        ValueError: as for `parse`.
    """
    parse(value)
    shape = _SHAPE.fullmatch(value)
    assert shape is not None
    number = min(Decimal(shape[1]) * factor, Decimal(INT64_MAX))
    return canonical(f"{number}{value[len(shape[1]) :]}")


def canonical(value: str) -> str:
    """The same quantity as Kubernetes writes it, once it has read it: 500m for 0.5.

    But for odd ones: with an exponent, or with more than six decimals.

    Raises:
        ValueError: as for `parse`.
    """
    amount, shape = parse(value), _SHAPE.fullmatch(value)
    assert shape is not None
    if shape[4] is not None:
        return value
    if value.endswith("i") and amount >= 1024 and amount == amount.to_integral_value():
        found = _in_units(int(amount), 1024, ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])
    else:
        found = _in_units(int(amount.scaleb(9)), 1000, ["n", "u", "m", "", *"kMGTPE"])
    # What could have been shorter in other ways, it leaves as it is.
    return value if value.lstrip("0") == found else found


def _in_units(amount: int, base: int, units: list[str]) -> str:
    """A whole amount of the least unit in the greatest unit that it is a whole amount of."""
    power = max((n for n in range(len(units)) if amount % base**n == 0), default=0)
    return f"{amount // base**power}{units[power]}" if amount else "0"


def _from_wire(value: Any) -> Any:
    # `cpu: 2` in YAML is an integer; a bool is an int in Python and must not pass as one.
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if value > INT64_MAX:
        raise ValueError(f"must be at most {INT64_MAX} when it is a number")
    return str(value)


def _positive(value: str) -> str:
    if parse(value) <= 0:
        raise ValueError("must be greater than zero")
    return value


Quantity = Annotated[
    str,
    BeforeValidator(_from_wire),
    AfterValidator(_positive),
    Field(max_length=32),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": PATTERN,
            "maxLength": 32,
            "x-kubernetes-validations": [
                {
                    "rule": "type(self) == int ? self > 0 :"
                    " quantity(string(self)).isGreaterThan(quantity('0'))",
                    "message": "must be greater than zero, for example 500m, 2 or 4Gi",
                }
            ],
        }
    ),
]
