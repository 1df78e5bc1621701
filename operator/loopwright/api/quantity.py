"""Kubernetes resource quantities: the type in our specs, and their value as a number."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

PATTERN: Final = r"^[0-9]{1,18}(\.[0-9]{1,9})?([eE][+-]?[0-9]|[numkMGTPE]|[KMGTPE]i)?$"
_SHAPE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:[eE]([+-]?[0-9])|([numkMGTPE]|[KMGTPE]i))?")
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
    number, exponent, suffix = shape.groups()
    if exponent is not None:
        return Decimal(number) * Decimal(10) ** int(exponent)
    return Decimal(number) * (_SUFFIX[suffix] if suffix else 1)


def _from_wire(value: Any) -> Any:
    # `cpu: 2` in YAML is an integer; a bool is an int in Python and must not pass as one.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


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
