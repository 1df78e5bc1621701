"""Kubernetes resource quantities: the type in our specs, and their value as a number."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

PATTERN: Final = r"^([0-9]{1,19}(\.[0-9]{1,9})?)([eE]([+-]?[0-9])|([numkMGTPE]|[KMGTPE]i))?$"
INT64_MAX: Final = 2**63 - 1
_SHAPE: Final = re.compile(PATTERN)
_SUFFIX: Final = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}


def parse(value: str) -> Decimal:
    """The number that a quantity like `500m` or `2Gi` stands for.

    Raises:
        ValueError: the text is not a non-negative Kubernetes quantity.
    """
    shape = _SHAPE.fullmatch(value)
    if shape is None:
        raise ValueError(f"{value!r} is not a quantity; write for example 500m, 2 or 4Gi")
    number, _, _, exponent, suffix = shape.groups()
    if exponent is not None:
        return Decimal(number) * Decimal(10) ** int(exponent)
    return Decimal(number) * (_SUFFIX[suffix] if suffix else 1)


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
