"""The base of every API model: camelCase on the wire, unknown fields refused, CEL beside the code.

A rule that spans fields is written twice on purpose: as CEL, which the API server enforces at
`kubectl apply`, and as a pydantic validator, which guards pods and tests. The contract tests
prove that the two agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic.alias_generators import to_camel


@dataclass(frozen=True)
class Cel:
    """One `x-kubernetes-validations` entry: a CEL rule and what to tell the user instead."""

    rule: str
    message: str

    def schema(self) -> dict[str, str]:
        """The entry as it stands in the CRD."""
        return {"rule": self.rule, "message": self.message}


def cel_name(field: str) -> str:
    """A field's name in CEL, which keeps some words for itself."""
    return f"__{field}__" if field in {"function", "namespace", "package", "import"} else field


def _add_rules(schema: dict[str, Any], cls: type[BaseModel]) -> None:
    """Puts a model's CEL rules into its JSON schema, those on immutable fields included."""
    if not issubclass(cls, ApiModel):
        return
    rules = [rule.schema() for rule in cls.cel]
    rules += [
        Cel(
            f"has(self.{field}) == has(oldSelf.{field})"
            f" && (!has(self.{field}) || self.{field} == oldSelf.{field})",
            f"{name} is immutable; create a new object instead",
        ).schema()
        for name, field in sorted((name, cel_name(name)) for name in cls.immutable)
    ]
    if rules:
        schema["x-kubernetes-validations"] = rules


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
        if not isinstance(data, dict):
            return data
        known = {field.alias for field in cls.model_fields.values()}
        return {k: v for k, v in data.items() if v is not None or k not in known}

    def wire(self) -> dict[str, Any]:
        """The object as JSON-compatible data with wire names, without unset optional fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(ApiModel):
    """A piece of a status. Unknown fields are ignored: a newer operator may have written them."""

    model_config = ConfigDict(extra="ignore")


def _no_parent_segments(value: str) -> str:
    if ".." in value.split("/"):
        raise ValueError("must not contain '..' path segments")
    return value


def _cel(rule: str, message: str) -> dict[str, Any]:
    return {"x-kubernetes-validations": [Cel(rule, message).schema()]}


NO_PARENT = Cel("!self.split('/').exists(p, p == '..')", "must not contain '..' path segments")


def uri(schemes: str, example: str) -> Any:
    """A URI type limited to `schemes` (separated by "|"), at most 2048 characters, without `..`."""
    # Printable ASCII only: `\s` means other characters to RE2 than to Python.
    pattern = rf"^({schemes})://[!-.0-~]+(/[!-~]*)?$"
    names = schemes.replace("|", "://, ")
    hint = f"must be a URI with one of the schemes {names}://, for example {example}"
    rules: list[Any] = [Cel(f"self.matches(r'{pattern}')", hint).schema(), NO_PARENT.schema()]
    return Annotated[
        str,
        AfterValidator(_matches(pattern, hint)),
        AfterValidator(_no_parent_segments),
        Field(min_length=1, max_length=2048, json_schema_extra={"x-kubernetes-validations": rules}),
    ]


def _matches(pattern: str, hint: str) -> Callable[[str], str]:
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

MAX_WORDS_BYTES = 4096
Argument = Annotated[str, Field(max_length=MAX_WORDS_BYTES)]

ReadUri = uri("s3|pvc|https|http", "s3://bucket/path or pvc://claim/path")
WriteUri = uri("s3|pvc", "s3://bucket/path or pvc://claim/path")
