"""Maps of strings, lists that are maps by one of their fields, and lists that are sets."""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field

from loopwright.api.base import NO_NUL, Cel


def distinct(name: str) -> AfterValidator:
    """Refuses two items of a list that agree in a field, as the API server does in a map."""

    def check(items: list[Any]) -> list[Any]:
        if len({getattr(item, name) for item in items}) < len(items):
            raise ValueError(f"{name} must not repeat")
        return items

    return AfterValidator(check)


def _distinct(items: list[Any]) -> list[Any]:
    if len(set(items)) < len(items):
        raise ValueError("an item must not repeat")
    return items


# Of a list that the schema calls a set (AS_SET): refuses what the API server refuses.
DISTINCT = AfterValidator(_distinct)
AS_SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}


class Keys(NamedTuple):
    """What a map's keys must be: not empty, not too long, and of a pattern."""

    limit: int
    pattern: str
    hint: str

    def rule(self) -> dict[str, Any]:
        """Schema of such a map."""
        size = f"size(key) >= 1 && size(key) <= {self.limit}"
        rule = f"self.all(key, {size} && key.matches(r'{self.pattern}'))"
        return {"x-kubernetes-validations": [Cel(rule, self.hint).schema()]}

    def check(self, value: dict[str, str]) -> dict[str, str]:
        """Refuses what the rule refuses."""
        shape = re.compile(self.pattern)
        if not all(1 <= len(key) <= self.limit and shape.fullmatch(key) for key in value):
            raise ValueError(self.hint)
        return value


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in value.items() if item is not None}


Text = Annotated[str, Field(max_length=4096, pattern=NO_NUL)]
WITHOUT_NULLS = BeforeValidator(_without_nulls)
"""Drops null values of a map, as the API server does."""

# As Kubernetes has it for labels and annotations: a name, and perhaps a domain before it.
QUALIFIED = Keys(
    317,
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$",
    "keys must be like name or example.com/name, the name of at most 63 letters, digits, '-', '_'"
    " and '.'",
)
LabelValue = Annotated[
    str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")
]
Labels = Annotated[
    dict[str, LabelValue],
    Field(max_length=64, json_schema_extra=QUALIFIED.rule()),
    AfterValidator(QUALIFIED.check),
    WITHOUT_NULLS,
]
"""Labels of pods or nodes."""

# By which other programs know their own: KubeRay's operator and Services of model servers too.
_TAKEN = ("loopwright.io/", "ray.io/", "serving.kserve.io/", "internal.serving.kserve.io/")
_TAKEN_LABELS = ("app.kubernetes.io/managed-by", "kueue.x-k8s.io/queue-name")
_FREE = " && ".join(f"!key.startsWith('{one}')" for one in _TAKEN)
_HINT = f"keys that start with {', '.join(_TAKEN[:-1])} or {_TAKEN[-1]} belong to other programs"
POD_ANNOTATION = Cel(f"self.all(key, {_FREE})", f"{_HINT}; choose another")
POD_LABEL = Cel(
    f"self.all(key, {_FREE} && !(key in {list(_TAKEN_LABELS)}))"
    " && (!('app' in self) || !self['app'].startsWith('isvc.'))"
    " && (!('app.kubernetes.io/component' in self)"
    " || self['app.kubernetes.io/component'] != 'kuberay-operator')",
    f"{_HINT}, and so do {', '.join(_TAKEN_LABELS)}, app: isvc.* and"
    " app.kubernetes.io/component: kuberay-operator; choose others",
)


def _free_annotations(value: dict[str, str]) -> dict[str, str]:
    if any(key.startswith(_TAKEN) for key in value):
        raise ValueError(POD_ANNOTATION.message)
    return value


def _free_labels(value: dict[str, str]) -> dict[str, str]:
    taken = any(key.startswith(_TAKEN) or key in _TAKEN_LABELS for key in value)
    if (
        taken
        or value.get("app", "").startswith("isvc.")
        or value.get("app.kubernetes.io/component") == "kuberay-operator"
    ):
        raise ValueError(POD_LABEL.message)
    return value


def _with(rule: Cel) -> dict[str, Any]:
    shape: list[Any] = QUALIFIED.rule()["x-kubernetes-validations"]
    return {"x-kubernetes-validations": [*shape, rule.schema()]}


PodLabels = Annotated[
    dict[str, LabelValue],
    Field(max_length=64, json_schema_extra=_with(POD_LABEL)),
    AfterValidator(QUALIFIED.check),
    AfterValidator(_free_labels),
    WITHOUT_NULLS,
]
"""Labels of pods that people add."""
Annotations = Annotated[
    dict[str, Text],
    Field(max_length=64, json_schema_extra=_with(POD_ANNOTATION)),
    AfterValidator(QUALIFIED.check),
    AfterValidator(_free_annotations),
    WITHOUT_NULLS,
]
"""Annotations of pods."""
