"""Compares an input with the baseline profile of a model, before training begins.

All rows are counted into the baseline's bins, as the model server counts requests, and judged as
monitors judge a window.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from typing import Final

from pydantic import ValidationError

from loopwright.api.baseline import Baseline
from loopwright.api.inputvalidation import InputDrift
from loopwright.api.model import MODEL_FILE, ModelManifest
from loopwright.api.monitoring import Watch
from loopwright.api.validation import InputBaseline
from loopwright.drift import Check, Finding, Reference, Rules, Verdict, asked, evaluate, report
from loopwright.runtime.batch.records import Block
from loopwright.runtime.errors import wrong
from loopwright.runtime.feeding import Feeder
from loopwright.runtime.findings import Check as DataCheck
from loopwright.runtime.findings import Findings
from loopwright.runtime.quality import COLUMN_THERE
from loopwright.runtime.storage import Folder
from loopwright.sketch import Counts, Sketch

FORM: Final = "each row has the form of the model's inputs"
MAX_NAMED: Final = 5
_SHARES: Final = {
    Check.MISSING: "missing values",
    Check.OUT_OF_RANGE: "values out of range",
    Check.UNSEEN: "values of new categories",
    Check.INVALID: "values of a wrong type",
    Check.REFUSED: "rows refused",
}


class Comparison:
    """Counts an input's rows, and says how they differ from those that a model was trained on.

    Args:
        name: Of the input.
        drift: How far the data may be from the baseline.
        model: Whose baseline it is.

    Raises:
        RunError: the model has none, or cannot be read.
    """

    def __init__(self, name: str, drift: InputDrift, model: InputBaseline) -> None:
        self._name, self._drift, self._model = name, drift, model
        manifest = _manifest(name, model)
        baseline = _inputs_of(name, model, manifest)
        try:
            self._reference = Reference.of(baseline)
        except ValueError as error:
            text = f"input '{name}': the baseline of {model} makes no sense: {error}"
            raise wrong("BaselineInvalid", f"{text}; save the model anew"[:512]) from error
        inputs = manifest.signature.inputs if manifest.signature is not None else []
        self._feeder = Feeder(self._reference.layout, inputs[0].name if inputs else "")
        self._sketch = Sketch(self._reference.layout)
        self._judged: tuple[Verdict, Counts] | None = None

    def add(self, block: Block) -> None:
        """Counts rows."""
        feeds, refused = self._feeder.feeds(block)
        self._sketch.add(feeds)
        if refused:
            self._sketch.refuse(refused)

    def finish(self, findings: Findings) -> None:
        """Adds a check for each feature of the baseline to what all rows have shown.

        Raises:
            RunError: none of them is in the data.
        """
        known = [one.name for one in self._reference.layout.features]
        absent = self._feeder.absent()
        if findings.rows and not self._feeder.seen:
            named = ", ".join(list(absent.values())[:MAX_NAMED])
            text = f"input '{self._name}' has no column of the baseline of {self._model}: {named}"
            raise wrong("DataInvalid", f"{text}; name columns as the model's features are named")
        counts = self._sketch.snapshot().counts
        rules = self._rules(frozenset(absent))
        verdict = evaluate(self._reference, counts, rules)
        self._judged = verdict, counts
        ignored = {one.name for one in self._drift.features if one.ignore}
        self._add(findings, self._whole(findings.rows, verdict, counts))
        columns = dict.fromkeys(column for name, column in absent.items() if name not in ignored)
        self._add(findings, (_absent(column, findings.rows) for column in columns))
        tested: dict[str, list[Finding]] = {name: [] for name in known if name not in rules.ignore}
        for one in verdict.findings:
            if one.feature in tested and one.adjusted is not None:
                tested[one.feature].append(one)
        self._add(findings, (self._feature(*one, findings.rows) for one in tested.items()))

    def pictures(self) -> str:
        """The distributions of all features beside those of the baseline, in HTML."""
        if self._judged is None:
            return ""
        verdict, counts = self._judged
        drawn = report.pictures(verdict.by_feature(), counts, self._reference)
        title = escape(f"Compared with the baseline of {self._model}")
        return f"<h2>{title}</h2>{report.key('this data')}{drawn}"

    def _rules(self, absent: frozenset[str]) -> Rules:
        drift = self._drift
        watch = Watch(
            name="input", kind="DataDrift", threshold=drift.threshold,
            min_samples=drift.min_samples, features=drift.features, drift_share="0",
        )  # fmt: skip
        rules = asked.rules(watch)
        checks = asked.CHECKS["DataDrift"] | asked.CHECKS["DataQuality"]
        return replace(rules, checks=checks, ignore=rules.ignore | absent)

    def _whole(self, rows: int, verdict: Verdict, counts: Counts) -> Iterator[DataCheck]:
        least = self._drift.min_samples
        few = max(0, least - rows)
        words = f"at least {least} rows to compare with the baseline of {self._model}"
        yield DataCheck(column="", check=words, total=rows + few, failed=few)
        refused = [one for one in verdict.violations if one.check is Check.REFUSED]
        if refused:
            found, size = _figure(refused[0]), counts.refused
            yield DataCheck(column="", check=FORM, total=rows, failed=size, found=found)

    def _feature(self, name: str, tested: list[Finding], rows: int) -> DataCheck:
        """The worst that was found of a feature decides. One that cannot be judged says so, and
        passes: too few rows fail a check of their own."""
        worst = max(tested, key=lambda one: (one.violated, one.severity), default=None)
        return DataCheck(
            column=name,
            check=f"is as in the baseline of {self._model}",
            total=rows,
            failed=rows if worst is not None and worst.violated else 0,
            found="too few values to judge" if worst is None else _figure(worst),
        )

    @staticmethod
    def _add(findings: Findings, checks: Iterator[DataCheck]) -> None:
        for one in checks:
            findings.checks[f"{one.column}\0baseline\0{one.check}"] = one


def _absent(column: str, rows: int) -> DataCheck:
    return DataCheck(column=column, check=COLUMN_THERE, total=rows, failed=rows)


def _figure(one: Finding) -> str:
    value, limit = one.value or 0.0, one.threshold or 0.0
    if one.check in _SHARES:
        beyond = "" if one.check is Check.REFUSED else " more than in training"
        return f"{value:.1%} {_SHARES[one.check]}, limit {limit:.1%}{beyond}"
    return f"distance by {one.method} {value:.3g}, limit {limit:.3g}"


def _manifest(name: str, model: InputBaseline) -> ModelManifest:
    content = Folder(model.uri, model.secret).read(MODEL_FILE)
    if content is None:
        text = f"input '{name}': there is no {model.uri}/{MODEL_FILE}"
        raise wrong("ModelNotFound", f"{text}; restore it, or compare with another model")
    found = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if found != model.digest:
        text = f"input '{name}': {model.uri}/{MODEL_FILE} has digest {found}, not {model.digest}"
        raise wrong("DigestMismatch", f"{text}; restore it, or register the model anew")
    try:
        return ModelManifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        text = f"input '{name}': {model.uri}/{MODEL_FILE}: {where}: {first['msg']}"
        raise wrong("ModelInvalid", f"{text}; save the model anew") from error


def _inputs_of(name: str, model: InputBaseline, manifest: ModelManifest) -> Baseline:
    """The baseline without predictions, which data does not have."""
    if manifest.baseline is None or not manifest.baseline.features:
        text = f"input '{name}': {model} has no baseline profile"
        hint = "train.save_model(..., baseline=rows) keeps one; or compare with another model"
        raise wrong("NoBaseline", f"{text}; {hint}")
    return manifest.baseline.model_copy(update={"predictions": [], "prediction_sources": []})
