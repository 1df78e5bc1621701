"""Maps of strings, and lists that are maps by one of their fields."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from loopwright.api.base import Cel


def distinct(name: str) -> AfterValidator:
    """Refuses two items of a list that agree in a field, as the API server does in a map."""

    def check(items: list[Any]) -> list[Any]:
        if len({getattr(item, name) for item in items}) < len(items):
            raise ValueError(f"{name} must not repeat")
        return items

    return AfterValidator(check)


def key_rule(limit: int) -> dict[str, Any]:
    """Schema of a map whose keys are not empty and have at most so many characters."""
    rule = f"self.all(key, size(key) >= 1 && size(key) <= {limit})"
    return {"x-kubernetes-validations": [Cel(rule, _key_hint(limit)).schema()]}


def bounded_keys(limit: int) -> AfterValidator:
    """Refuses what `key_rule` refuses."""

    def check(value: dict[str, str]) -> dict[str, str]:
        if not all(1 <= len(key) <= limit for key in value):
            raise ValueError(_key_hint(limit))
        return value

    return AfterValidator(check)


def _key_hint(limit: int) -> str:
    return f"keys must have 1 to {limit} characters"


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in value.items() if item is not None}


Text = Annotated[str, Field(max_length=4096)]
WITHOUT_NULLS = BeforeValidator(_without_nulls)
"""Drops null values of a map, as the API server does."""

StringMap = Annotated[
    dict[str, Text],
    Field(max_length=64, json_schema_extra=key_rule(317)),
    bounded_keys(317),
    WITHOUT_NULLS,
]
"""A bounded map of label- or annotation-like strings; a prefixed key has up to 317 characters."""
