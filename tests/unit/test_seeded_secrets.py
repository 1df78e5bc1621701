"""What processes in pods say when storage fails holds no key of it."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from model_servers import servers

from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder
from ports import free_port
from seeded import Seeds


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> Seeds:
    made = Seeds()
    for name, value in made.values.items():
        monkeypatch.setenv(name, value)
    # Nobody listens there.
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return made


def test_a_job_whose_storage_cannot_be_reached(
    seeds: Seeds, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError) as caught:
        Folder("s3://bucket/x").write("a", b"content")
    out, err = capfd.readouterr()
    places = {
        "message": str(caught.value),
        "traceback": "".join(traceback.format_exception(caught.value)),
        "output": out + err,
    }
    assert seeds.found(places) == []


def test_a_model_server_whose_storage_cannot_be_reached(seeds: Seeds, tmp_path: Path) -> None:
    with servers(tmp_path) as start:
        env = {**seeds.values, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}
        server = start(env=env, model_uri="s3://bucket/model")
        out, _ = server.process.communicate(timeout=300)
        assert server.process.returncode != 0
        assert "StorageFailed" in server.message.read_text()
        assert seeds.found({"output": out, "message": server.message.read_text()}) == []


def test_the_search_finds_what_it_looks_for() -> None:
    seeds = Seeds()
    value = seeds.values["AWS_SECRET_ACCESS_KEY"]
    import base64
    from urllib.parse import quote

    hidden = {"a": f"key={value};", "b": quote(value, safe=""),
              "c": base64.b64encode(value.encode()).decode()}  # fmt: skip
    assert [one.rpartition(" ")[2] for one in seeds.found(hidden)] == ["a", "b", "c"]
    assert seeds.found({"d": "nothing"}) == []
