"""Checks a job's inputs before training begins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from loopwright.api.batchtransform import BatchInput
from loopwright.api.inputvalidation import InputDrift, InputValidation
from loopwright.api.trainingjob import Input
from loopwright.api.validation import InputBaseline, Validation, ValidationResult
from loopwright.runtime import quality, quality_report
from loopwright.runtime.batch import readers
from loopwright.runtime.batch.plan import Shard, parquet
from loopwright.runtime.batch.records import Columns
from loopwright.runtime.comparing import Comparison
from loopwright.runtime.errors import wrong
from loopwright.runtime.findings import MAX_EXAMPLES, Check, Example, Findings
from loopwright.runtime.storage import Folder

FORMATS: Final = {"csv": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "parquet": "parquet"}
READABLE: Final = "every line can be read"


def check(
    one: Input, path: Path, reports: Folder | None, baseline: InputBaseline | None = None
) -> ValidationResult:
    """What the checks of an input find; writes the quality report.

    Args:
        path: The file or folder that the input is in this pod.
        reports: Where the report goes.
        baseline: What the data is compared with.

    Raises:
        RunError: there is nothing to check, or to compare with.
    """
    assert one.validation is not None
    comparison = _comparison(one.name, one.validation, baseline)
    findings = _findings(one.name, one.validation, path, comparison)
    uri = None if reports is None else reports.child(f"{one.name}.html")
    result = quality.verdict(one.name, findings, uri)
    if reports is not None:
        pictures = comparison.pictures() if comparison is not None else ""
        quality_report.write(reports, one.name, findings, result, pictures)
    return result


def _comparison(
    name: str, validation: InputValidation, baseline: InputBaseline | None
) -> Comparison | None:
    if validation.baseline_ref is None:
        return None
    if baseline is None:
        text = f"input '{name}': the operator names no model to compare with; run the job again"
        raise wrong("ModelNotFound", text)
    return Comparison(name, validation.drift or InputDrift(), baseline)


def _findings(
    name: str, validation: Validation, path: Path, comparison: Comparison | None
) -> Findings:
    folder = Folder.local(path if path.is_dir() else path.parent)
    files = list(_files(folder) if path.is_dir() else _format(path.name))
    if not files:
        text = f"input '{name}' has no file to check: none ends with .csv, .jsonl or .parquet"
        raise wrong("DataInvalid", text)
    whole, hashes = Findings(), []
    for file, format in files:
        checker = quality.Checker(validation, text=format == "csv")
        options = BatchInput(uri="pvc://input", format=format)
        stop = -1
        if format == "parquet":
            stop = parquet(folder, file).metadata.num_row_groups
        shard = Shard(number=0, files=[file], stop=stop, size=0)
        for read in readers.read(folder, options, shard):
            _readable(checker.findings, read)
            if read.block is not None:
                data = read.block.table() if isinstance(read.block, Columns) else read.block.rows()
                checker.add(data, read.block.file, read.block.lines)
                if comparison is not None:
                    comparison.add(read.block)
        whole.merge(checker.findings)
        hashes += list(checker.hashes().items())
    found = quality.finished(validation, whole, hashes)
    if comparison is not None:
        comparison.finish(found)
    return found


def _readable(findings: Findings, read: readers.Read) -> None:
    made = Check(column="", check=READABLE)
    check = findings.checks.setdefault(READABLE, made)
    check.total += len(read.letters) + (0 if read.block is None else len(read.block))
    check.failed += len(read.letters)
    for letter in read.letters[: MAX_EXAMPLES - len(check.examples)]:
        shown = str(letter.record)[: quality.MAX_SHOWN]
        check.examples.append(Example(file=letter.file, line=letter.line, value=shown))


def _files(folder: Folder) -> Iterator[tuple[str, str]]:
    for file in folder.files():
        yield from _format(file)


def _format(file: str) -> Iterator[tuple[str, str]]:
    """The file and its format, if its ending is known; ConfigMaps hide their files' doubles."""
    ending = file.removesuffix(".gz").rpartition(".")[2]
    hidden = any(part.startswith(("_", ".")) for part in file.split("/"))
    if ending in FORMATS and not hidden:
        yield file, FORMATS[ending]
