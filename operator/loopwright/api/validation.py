"""What data must look like before it is used, and what was found when it was checked."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from loopwright.api.base import NO_NUL, WHOLE, ApiModel, Cel, Flag, StatusModel
from loopwright.api.maps import distinct
from loopwright.api.shared import Number, by_key

# Checked data is of these formats; a file's ending tells which, where nothing else does.
CHECKED_FORMATS = ("csv", "jsonl", "parquet")
MAX_RESULTS = 20

ColumnName = Annotated[str, Field(min_length=1, max_length=128, pattern=NO_NUL)]
Rows = Annotated[int, Field(strict=True, ge=0, le=2**53), WHOLE]


class ColumnSchema(ApiModel):
    """A column of the data."""

    name: ColumnName
    """Name of the column, or of the field of a JSON object."""
    type: Literal["Integer", "Number", "String", "Boolean", "Timestamp"] | None = None
    """What each value must be. Number takes whole numbers too. Text of a CSV file counts as what
    can be read from it; timestamps in text are RFC 3339. None takes anything."""
    nullable: Flag = True
    """Whether values may be missing: null, NaN, or an empty field of a CSV file."""
    required: Flag = True
    """Whether the column must be there."""


class DataSchema(ApiModel):
    """Columns and their types."""

    columns: Annotated[
        list[ColumnSchema],
        Field(min_length=1, max_length=256, json_schema_extra=by_key("name")),
        distinct("name"),
    ]
    """Columns that are known."""
    allow_others: Flag = True
    """Whether there may be other columns."""


class Expectation(ApiModel):
    """What the values of a column must be like. Missing values are the schema's to refuse."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.min) || has(self.max) || has(self.allowedValues) || has(self.pattern) ||"
            " (has(self.unique) && self.unique)",
            "set at least one of min, max, unique, allowedValues and pattern",
        ),
    )

    column: ColumnName
    """Name of the column."""
    min: Number | None = None
    """Least value, as text."""
    max: Number | None = None
    """Greatest value, as text."""
    unique: Flag = False
    """Whether no value may repeat, over all files."""
    allowed_values: (
        Annotated[
            list[Annotated[str, Field(max_length=256, pattern=NO_NUL)]],
            Field(min_length=1, max_length=256),
        ]
        | None
    ) = None
    """The values that there may be, as text; numbers are compared as numbers."""
    pattern: Annotated[str, Field(min_length=1, max_length=512, pattern=NO_NUL)] | None = None
    """A regular expression that the whole text must match."""
    max_failed_percent: Number = "0"
    """Share of the values that may fail, as text: 0 to 100."""

    @model_validator(mode="after")
    def _expects(self) -> Expectation:
        others = (self.min, self.max, self.allowed_values, self.pattern)
        if not self.unique and all(one is None for one in others):
            raise ValueError("set at least one of min, max, unique, allowedValues and pattern")
        return self


class Validation(ApiModel):
    """Checks of the data, and what to do when it fails them."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.schema) || has(self.expectations) || has(self.minRows)",
            "set at least one of schema, expectations and minRows",
        ),
    )

    schema_: Annotated[DataSchema | None, Field(alias="schema")] = None
    """Columns and types."""
    expectations: (
        Annotated[
            list[Expectation],
            Field(min_length=1, max_length=256, json_schema_extra=by_key("column")),
            distinct("column"),
        ]
        | None
    ) = None
    """What values must be like, by column."""
    min_rows: Rows | None = None
    """Rows that there must be at least."""
    on_failure: Literal["Fail", "Warn"] = "Fail"
    """Fail: the job fails, and nothing is made of the data. Warn: the condition DataValidated and
    the quality report tell, and the job goes on."""

    @model_validator(mode="after")
    def _checks(self) -> Validation:
        if self.schema_ is None and self.expectations is None and self.min_rows is None:
            raise ValueError("set at least one of schema, expectations and minRows")
        return self


class ValidationResult(StatusModel):
    """What the checks of one data set found; the operator makes the condition DataValidated of
    it."""

    name: Annotated[str, Field(max_length=63)]
    """Name of the input."""
    passed: bool
    """Whether all checks passed."""
    rows: int = 0
    """Rows checked."""
    checks: int = 0
    """Checks made."""
    failed: int = 0
    """Checks that failed."""
    message: Annotated[str, Field(max_length=512)] = ""
    """What failed, in one line; the first few of them."""
    report_uri: Annotated[str, Field(max_length=2048)] | None = None
    """The quality report as HTML; the same as JSON lies beside it."""


class InputBaseline(StatusModel):
    """The model that an input is compared with: what baselineRef meant when the first attempt
    began."""

    name: Annotated[str, Field(max_length=63)]
    """Name of the input."""
    uri: Annotated[str, Field(max_length=2048)]
    """The model directory."""
    digest: Annotated[str, Field(max_length=71)]
    """sha256 of its model.json, which is checked before it is read."""
    secret: Annotated[str, Field(max_length=253)] | None = None
    """The Secret with credentials to read `uri`."""
    model_version: Annotated[str, Field(max_length=253)] | None = None
    """The ModelVersion; none when a job's model is used that was not registered."""

    def __str__(self) -> str:
        return self.model_version or self.uri
