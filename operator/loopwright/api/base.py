"""The base of every API model: camelCase on the wire, unknown fields refused, CEL beside the code.

A rule that spans fields is written twice on purpose: as CEL, which the API server enforces at
`kubectl apply`, and as a pydantic validator, which guards pods and tests. The contract tests
prove that the two agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel


@dataclass(frozen=True)
class Cel:
    """One `x-kubernetes-validations` entry: a CEL rule and what to tell the user instead."""

    rule: str
    message: str
    expression: str = ""
    """CEL that gives a better message."""

    def schema(self) -> dict[str, str]:
        """The entry as it stands in the CRD."""
        entry = {"rule": self.rule, "message": self.message}
        return entry | ({"messageExpression": self.expression} if self.expression else {})


def cel_name(field: str) -> str:
    """A field's name in CEL, which keeps some words for itself."""
    return f"__{field}__" if field in {"function", "namespace", "package", "import"} else field


def _add_rules(schema: dict[str, Any], cls: type[BaseModel]) -> None:
    """Puts a model's CEL rules into its JSON schema, those on immutable fields included."""
    if not issubclass(cls, ApiModel):
        return
    rules = [*cls.cel, *([_immutability(cls.immutable)] if cls.immutable else [])]
    if rules:
        schema["x-kubernetes-validations"] = [rule.schema() for rule in rules]


def _immutability(fields: Iterable[str]) -> Cel:
    """Names the first field that was changed.

    The whole is compared first: the rule is evaluated at each write of a status too, where one for
    each field was a quarter of what the API server did.
    """
    same = {name: _same(cel_name(name)) for name in sorted(fields)}
    changed = ", ".join(f"{test} ? '' : '{name}'" for name, test in same.items())
    text = "is immutable; create a new object instead"
    return Cel(
        f"self == oldSelf || ({' && '.join(same.values())})",
        f"a field {text}",
        f"[{changed}].filter(name, name != '')[0] + ' {text}'",
    )


def _same(field: str) -> str:
    there = f"has(self.{field})"
    return f"({there} == has(oldSelf.{field}) && (!{there} || self.{field} == oldSelf.{field}))"


class ApiModel(BaseModel):
    """A piece of a spec: strict, immutable, camelCase on the wire."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        json_schema_extra=_add_rules,
    )

    cel: ClassVar[tuple[Cel, ...]] = ()
    """Rules on this object; the CRD generator copies them into the schema."""

    immutable: ClassVar[frozenset[str]] = frozenset()
    """Names (on the wire) of fields that may not change after creation."""

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """The object that data from the wire stands for; only constructors take Python's names."""
        return super().model_validate(obj, **{"by_name": False, **options})

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        # As the API server does, which still refuses fields that it does not know.
        # Hardly any are there, and this runs for each part of each object that is read.
        if not isinstance(data, dict) or None not in data.values():
            return data
        known = {field.alias for field in cls.model_fields.values()}
        return {k: v for k, v in data.items() if v is not None or k not in known}

    def wire(self) -> dict[str, Any]:
        """The object as JSON-compatible data with wire names, without unset optional fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(ApiModel):
    """A piece of a status. Unknown fields are ignored: a newer operator may have written them."""

    model_config = ConfigDict(extra="ignore")

    @field_validator("*")
    @classmethod
    def _in_64_bits(cls, value: Any) -> Any:
        # More cannot be stored, and what pods report is part of a status.
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError("must fit into 64 bits")
        return value


def _no_parent_segments(value: str) -> str:
    if ".." in value.split("/"):
        raise ValueError("must not contain '..' path segments")
    return value


def cel_schema(rule: str, message: str) -> dict[str, Any]:
    """What a field's JSON schema says besides: a CEL rule and what to tell the user instead."""
    return {"x-kubernetes-validations": [Cel(rule, message).schema()]}


NO_PARENT = Cel("!self.split('/').exists(p, p == '..')", "must not contain '..' path segments")


def uri_pattern(*schemes: str) -> str:
    """What URIs with these schemes look like; what pvc:// names must be able to be a claim."""
    others = "|".join(scheme for scheme in schemes if scheme != "pvc")
    # Printable ASCII only: `\s` means other characters to RE2 than to Python.
    return rf"(({others})://[!-.0-~]+|pvc://[a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?)(/[!-~]*)?"


def uri(*schemes: str, example: str) -> Any:
    """A URI type limited to `schemes`, at most 2048 characters, without `..`."""
    pattern = f"^{uri_pattern(*schemes)}$"
    names = ", ".join(f"{scheme}://" for scheme in schemes)
    hint = f"must be a URI with one of the schemes {names}, for example {example}"
    rules: list[Any] = [Cel(f"self.matches(r'{pattern}')", hint).schema(), NO_PARENT.schema()]
    return Annotated[
        str,
        AfterValidator(matches(pattern, hint)),
        AfterValidator(_no_parent_segments),
        Field(min_length=1, max_length=2048, json_schema_extra={"x-kubernetes-validations": rules}),
    ]


def matches(pattern: str, hint: str) -> Callable[[str], str]:
    """A validator that says in words what to write instead."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        # fullmatch: Python's `$` would accept a trailing newline, RE2's does not.
        if not compiled.fullmatch(value):
            raise ValueError(hint)
        return value

    return check


def _whole(value: Any) -> Any:
    # JSON has one kind of number: to the API server 2.0 is the integer 2.
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Strict, or pydantic would take "yes" for true; integers are strict for the same reason.
Flag = Annotated[bool, Field(strict=True)]
WHOLE = BeforeValidator(_whole)
"""Comes last in an integer's type: bounds after a validator are missing in the schema."""

# The pattern stands before the validator for the same reason.
AbsolutePath = Annotated[
    str,
    Field(
        min_length=2,
        max_length=1024,
        pattern=r"^/[!-9;-~]+$",
        json_schema_extra={"x-kubernetes-validations": [NO_PARENT.schema()]},
    ),
    AfterValidator(_no_parent_segments),
]
RelativePath = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        pattern=r"^[!-.0-~][!-~]*$",
        json_schema_extra={"x-kubernetes-validations": [NO_PARENT.schema()]},
    ),
    AfterValidator(_no_parent_segments),
]
DnsName = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
EnvName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
MetricName = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_.:/-]*$")
]

# No program can be given a word or a variable that holds a NUL.
NO_NUL = r"^[^\x00]*$"
MAX_WORDS_BYTES = 4096
Argument = Annotated[str, Field(max_length=MAX_WORDS_BYTES, pattern=NO_NUL)]

EXAMPLE = "s3://bucket/path or pvc://claim/path"
ReadUri = uri("s3", "pvc", "https", "http", example=EXAMPLE)
WriteUri = uri("s3", "pvc", example=EXAMPLE)
ResumeUri = Annotated[
    str,
    Field(
        max_length=2048,
        pattern=rf"^(Latest|None|{uri_pattern('s3', 'pvc')})$",
        json_schema_extra={"x-kubernetes-validations": [NO_PARENT.schema()]},
    ),
    AfterValidator(_no_parent_segments),
]
"""Where to begin: Latest, None, or a URI."""
