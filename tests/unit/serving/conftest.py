"""Servers: as an application that is called, and as processes with ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import model_folders
import onnx
import pytest
from model_servers import Serving, servers

from loopwright.serving.app import App
from loopwright.serving.loading import load
from loopwright.serving.service import Service
from loopwright.serving.settings import Settings


class Calls(httpx.AsyncClient):
    """A client of an application that runs in this process."""

    def __init__(self, service: Service) -> None:
        super().__init__(transport=httpx.ASGITransport(App(service)), base_url="http://server")
        self.service = service

    def counted(self, protocol: str, code: int) -> float:
        """How many requests the metrics tell of."""
        labels = {"endpoint": "m", "variant": "", "protocol": protocol, "code": str(code)}
        name = "loopwright_serving_requests_total"
        return self.service.metrics.registry.get_sample_value(name, labels) or 0.0


Calling = Callable[..., Calls]


@pytest.fixture
def calling(tmp_path: Path) -> Iterator[Calling]:
    """Makes an application of a model, which is called m; settings as keywords."""
    made: list[Service] = []

    def make(content: onnx.ModelProto, **settings: Any) -> Calls:
        folder = tmp_path / f"model-{len(made)}"
        model_folders.write(folder, content)
        chosen = Settings(**{"model_name": "m", "model_dir": str(folder), **settings})
        made.append(Service.of(chosen, load(chosen)))
        return Calls(made[-1])

    yield make
    for service in made:
        service.direct.close()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """Starts servers as processes."""
    with servers(tmp_path) as start:
        yield start
