"""How the tool finds and asks an API server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from loopwright.api.resources import POD
from loopwright.cli.app import app
from loopwright.cli.kubeconfig import load
from loopwright.view.errors import NotThere, Refused, Trouble


class Api(BaseHTTPRequestHandler):
    """Refuses in all ways that there are; lists pods in two pages."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        code, body = 200, self.headers.get("Authorization", "").encode()
        if path.startswith("/code/"):
            code, body = int(path[6:9]), json.dumps({"message": f"says {path[6:9]}"}).encode()
        elif path == "/model":
            code, body = 400, b'{"error": "expected FP32"}'
        elif path == "/page":
            code, body = 502, b"<html>bad\ngateway"
        elif path.endswith("/pods"):
            more = {} if "continue=x" in query else {"continue": "x"}
            items = [{"metadata": {"name": "b" if not more else "a"}}]
            body = json.dumps({"items": items, "metadata": more}).encode()
        elif path.endswith("/log"):
            body = "one\nzwei \u00e4\nlast".encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig with two contexts of one server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    where = {"server": f"http://127.0.0.1:{server.server_port}"}
    contexts = [
        {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "team"}},
        {"name": "two", "context": {"cluster": "c", "user": "u"}},
    ]
    file = tmp_path / "kubeconfig"
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "one", "contexts": contexts,
        "clusters": [{"name": "c", "cluster": where}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
    }  # fmt: skip
    file.write_text(yaml.safe_dump(config))
    yield file
    server.shutdown()
    server.server_close()


def test_namespaces_come_from_the_option_the_context_or_nowhere(kubeconfig: Path) -> None:
    config = str(kubeconfig)
    assert load(config, None, None).namespace == "team"
    assert load(config, "two", None).namespace == "default"
    assert load(config, "two", "mine").namespace == "mine"


def test_requests_carry_the_users_token(kubeconfig: Path) -> None:
    assert load(str(kubeconfig), None, None).read("GET", "/me") == b"Bearer secret"


def test_lists_are_read_to_their_end(kubeconfig: Path) -> None:
    found = load(str(kubeconfig), None, None).list(POD)
    assert [(one["kind"], one["metadata"]["name"]) for one in found] == [("Pod", "a"), ("Pod", "b")]


def test_logs_come_in_lines(kubeconfig: Path) -> None:
    cluster = load(str(kubeconfig), None, None)
    assert list(cluster.lines("/x/log", {})) == ["one", "zwei \u00e4", "last"]


@pytest.mark.parametrize(
    ("path", "kind", "line"),
    [
        ("/code/404", NotThere, "says 404"),
        ("/code/401", Refused, "the API server does not know you: says 401; renew your"
         " credentials"),
        ("/code/403", Refused, "says 403; ask for a role, such as loopwright-view or"
         " loopwright-edit"),
        ("/code/500", Trouble, "says 500"),
        ("/model", Trouble, "expected FP32"),
        ("/page", Trouble, "<html>bad gateway"),
    ],
)  # fmt: skip
def test_refusals(kubeconfig: Path, path: str, kind: type[Trouble], line: str) -> None:
    with pytest.raises(kind) as caught:
        load(str(kubeconfig), None, None).read("GET", path)
    assert caught.value.line() == line


def test_nobody_answers(kubeconfig: Path) -> None:
    config = yaml.safe_load(kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:1"
    kubeconfig.write_text(yaml.safe_dump(config))
    shown = CliRunner().invoke(app, ["status", "--kubeconfig", str(kubeconfig)])
    assert shown.exit_code == 1
    assert shown.stderr.startswith("loopwright: the API server http://127.0.0.1:1 does not answer:")
    assert shown.stderr.endswith("context is right: kubectl cluster-info\n")
    assert shown.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["--kubeconfig", "/nowhere"], ["--context", "three"]])
def test_no_cluster(kubeconfig: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    shown = CliRunner().invoke(app, ["status", *words])
    assert shown.exit_code == 1
    assert shown.stderr.startswith("loopwright: no cluster: ")
    assert shown.stderr.endswith("; set KUBECONFIG, or give --kubeconfig and --context\n")
    assert shown.stderr.count("\n") == 1


def test_what_answers_must_be_an_api_server(kubeconfig: Path) -> None:
    with pytest.raises(Trouble, match="what answers is no API server"):
        load(str(kubeconfig), None, None).json("/me")
