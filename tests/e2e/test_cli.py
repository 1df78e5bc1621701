"""The command line tool against what only a whole cluster has: logs, and proxies to pods."""

from __future__ import annotations

import json
from typing import Any

import pytest
from endpoints import Endpoint, variant
from space import PATIENCE, Space
from stored_model import StoredModel

from cli_tool import Tool
from eventually import eventually
from loopwright.cli.kubeconfig import load
from loopwright.cli.predict import body_of, predict
from loopwright.view.refs import find

pytestmark = pytest.mark.e2e

SCRIPT = """
import pathlib, time
print("it trains", flush=True)
while not pathlib.Path("/mnt/loopwright/pvc/results/go").exists():
    time.sleep(0.2)
print("it has trained", flush=True)
"""
MONITOR = {"name": "drift", "kind": "DataDrift", "everySeconds": 3600}


def test_logs_by_rank_while_it_trains_and_where_they_are_later(space: Space) -> None:
    tool = Tool(space.kubectl.kubeconfig, space.name)
    space.train("told", SCRIPT)
    space.phase("told", "Running")

    def says(text: str) -> bool:
        return text in tool.run("logs", "tj/told", "--rank", "0", code=None).splitlines()

    eventually("what the code prints", lambda: says("it trains"))
    assert says("loopwright: rank 0 of 1")
    shown = tool.run("status", "tj/told")
    assert "RayCluster told-a1-" in shown
    assert "Running  head" in shown
    space.let_go()
    space.phase("told", "Succeeded")
    # KubeRay removes the pods of a job that is over.
    eventually("the pods to go", lambda: not space.pods("told", "head"))
    later = tool.run("logs", "tj/told", code=1)
    assert "rank-0.log is on claim results" in later


def test_predictions_and_reports_through_the_api_server(space: Space, digits: StoredModel) -> None:
    tool = Tool(space.kubectl.kubeconfig, space.name)
    endpoint = Endpoint(space, "digits").apply(variant(), monitors=[MONITOR])
    endpoint.ready()
    rows = json.dumps([[0.0] * 64])
    straight: Any = json.loads(tool.run("predict", "digits", "-d", rows))
    assert len(straight["predictions"]) == 1
    refused = tool.run("predict", "digits", "-d", "[[1.0]]", code=1)
    assert "the model takes pixels float32[any, 64]" in refused
    eventually(
        "the report",
        lambda: "<html" in tool.run("report", "mep/digits", "-o", "-", code=None).lower(),
        timeout=PATIENCE,
    )
    # What has just begun to watch may have something to say at first.
    well = "To do: nothing; all is as it should be"
    eventually("nothing to do", lambda: well in tool.run("explain", "mep/digits"))
    # As where the Gateway cannot be reached.
    cluster = load(str(space.kubectl.kubeconfig), None, space.name)
    found = find(cluster, "mep/digits")
    del found.obj["status"]["url"]
    told: list[str] = []
    assert predict(cluster, found, body_of(rows), told.append) == straight
    assert told == []
