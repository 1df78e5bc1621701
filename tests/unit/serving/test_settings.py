"""Settings from variables and flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from loopwright.api import serving
from loopwright.serving.errors import CannotServe
from loopwright.serving.settings import Settings, cpus


def test_flags_win_over_variables() -> None:
    env = {"LOOPWRIGHT_MODEL_NAME": "a", "LOOPWRIGHT_VARIANT": "blue"}
    found = Settings.load(["--model_name=b"], env)
    assert (found.model_name, found.variant, found.endpoint) == ("b", "blue", "b")


def test_what_the_operator_sets_exists() -> None:
    fields = {f"LOOPWRIGHT_{name.upper()}" for name in Settings.__dataclass_fields__}
    told = {value for name, value in vars(serving).items() if name.startswith("ENV_")}
    assert told <= fields
    assert (Settings().http_port, Settings().grpc_port) == (serving.HTTP_PORT, serving.GRPC_PORT)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--http_port=x"], "--http_port"),
        (["--http_port=0"], "--http_port must not be 0"),
        (["--max_latency_ms=-1"], "--max_latency_ms must not be -1.0"),
        (["--drain_seconds=nan"], "--drain_seconds must not be nan"),
        (["--threads=-1"], "--threads must not be -1"),
        (["--allow_missing=1"], "must be true or false"),
        (["--log_level=loud"], "--log_level must not be 'loud'"),
        (["--nonsense=1"], "--nonsense=1"),
        (["--model_nam=x"], "--model_nam=x"),
    ],
)
def test_wrong_settings(argv: list[str], told: str) -> None:
    with pytest.raises(CannotServe) as caught:
        Settings.load(argv, {})
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 4),
        ({"cpu.max": "max 100000"}, 4),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "5000 100000"}, 1),
        ({"cpu.max": "900000 100000"}, 4),
        ({"cpu.max": "odd"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
    ],
)
def test_cpus_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert cpus(str(tmp_path)) == expected
    if files:
        return
    assert Settings(threads=3).threads == 3
