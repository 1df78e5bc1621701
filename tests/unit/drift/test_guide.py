"""The example of the documentation runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from loopwright.api.model import ModelManifest
from loopwright.train.profile import profile

PAGE = Path(__file__).resolve().parents[3] / "docs" / "concepts" / "drift-statistics.md"


def test_the_example_counts_and_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 64))
    outputs = {"label": np.arange(200) % 10}
    manifest = ModelManifest.model_validate({
        "format": "onnx", "created": "2026-11-24T10:00:00Z", "files": [],
        "baseline": profile({"input": rows}, outputs=outputs).wire(),
        "lineage": {"job": "a/b", "uid": "u", "attempt": 1, "image": "i"},
    })  # fmt: skip
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text(manifest.model_dump_json(by_alias=True))
    monkeypatch.chdir(tmp_path)
    [example] = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    # An hour later, so that a window has ended.
    example += "\nfor window in windows.ended(3600.0):\n"
    example += "    print(hysteresis.update(evaluate(reference, window.counts).state))\n"
    example += "    print(window.counts.rows, window.counts.refused)\n"
    exec(example, {})  # noqa: S102 (our own page)
    assert capsys.readouterr().out.split() == ["NoData", "[1", "1]", "1"]
