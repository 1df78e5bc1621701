"""The guide's commands give the answers that stand below them; its YAML and the manifest fit."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from model_folders import describe
from model_servers import ROOT, Server, servers
from server_reference import PAGE, text
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from loopwright.api import serving as agreed
from loopwright.serving.settings import Settings
from loopwright.train.estimator import export_estimator

GUIDE = (ROOT / "docs" / "guides" / "model-server.md").read_text()
EXAMPLES = re.findall(r"^```sh\n(curl [^`]*)^```\n\n^```json\n([^`]*)^```$", GUIDE, re.MULTILINE)
RUNTIMES = list(yaml.safe_load_all((ROOT / "deploy" / "servingruntime.yaml").read_text()))
runtimes = pytest.mark.parametrize(
    "container",
    [container for one in RUNTIMES for container in one["spec"]["containers"]],
    ids=[one["metadata"]["name"] for one in RUNTIMES],
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The guide's model."""
    folder: Path = tmp_path_factory.mktemp("guide")
    (folder / "model").mkdir()
    x, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(x, y)
    signature = export_estimator(model, x, folder / "model" / "model.onnx", "input")
    known = describe(folder / "model", signature=signature.wire())
    with servers(folder) as start:
        flags: dict[str, Any] = {"model_dir": folder / "model", "model_digest": known}
        yield start(**flags, model_name="iris", grpc_port=0).wait_ready()


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == GUIDE.count("```json")


@pytest.mark.parametrize(("command", "answer"), EXAMPLES)
def test_the_examples_do_what_they_say(server: Server, command: str, answer: str) -> None:
    command = command.replace("localhost:8080", f"127.0.0.1:{server.port}")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == json.loads(answer)


def test_flags_in_the_guide_exist() -> None:
    known = {f"--{name}" for name in Settings.__dataclass_fields__}
    assert set(re.findall(r"--[a-z]+_[a-z_]+", GUIDE)) <= known


def test_the_reference_is_up_to_date() -> None:
    assert PAGE.read_text() == text()


@runtimes
def test_the_serving_runtime_starts_the_server(container: dict[str, Any]) -> None:
    args = [one.replace("{{.Name}}", "iris") for one in container["args"]]
    settings = Settings.load(args, {})
    assert (settings.model_name, settings.model_dir) == ("iris", "/mnt/models")
    ports = [one["containerPort"] for one in container["ports"]]
    assert ports == [settings.http_port, settings.grpc_port]
    assert container["readinessProbe"]["httpGet"]["path"] == agreed.READY_PATH
    for probe in ("livenessProbe", "startupProbe"):
        assert container[probe]["httpGet"]["path"] == agreed.LIVE_PATH
    # Kubernetes waits 30 s unless told otherwise, and a runtime cannot tell it.
    assert settings.drain_seconds + settings.drain_timeout_seconds < 30


@runtimes
def test_the_serving_runtime_is_restricted(container: dict[str, Any]) -> None:
    context = container["securityContext"]
    assert context["runAsNonRoot"]
    assert context["readOnlyRootFilesystem"]
    assert not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    dockerfile = (ROOT / "images" / "serving" / "Dockerfile").read_text()
    assert f"USER {context['runAsUser']}:" in dockerfile
