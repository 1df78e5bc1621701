"""Inputs: from claims, ConfigMaps and HTTP, with digests, once a pod."""

from __future__ import annotations

import hashlib
import http.server
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loopwright.api import names
from loopwright.api.trainingjob import Input
from loopwright.api.trainingjob_status import Cause
from loopwright.runtime import inputs
from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder, digest

pytestmark = pytest.mark.timeout(30)

DATA = b"x,y\n1,2\n"


class Web(http.server.ThreadingHTTPServer):
    """Serves `files`; a path that is a number is answered with that status."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {"/data.csv": DATA}
        self.missing_bytes = 0
        self.chunked = False
        self.requests: list[str] = []
        self.hold: Callable[[], object] = lambda: None
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET."""

    server: Web
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """One file."""
        self.close_connection = True
        self.server.requests.append(self.path)
        self.server.hold()
        path = urllib.parse.urlsplit(self.path).path
        status = int(path[1:]) if path[1:].isdigit() else 200 if path in self.server.files else 404
        content = self.server.files.get(path, b"")
        self.send_response(status)
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            content = b"100\r\n" + content
        else:
            self.send_header("Content-Length", str(len(content) + self.server.missing_bytes))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server."""
    made = Web()
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture(autouse=True)
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pod's folders."""
    monkeypatch.setattr(inputs, "WORK", tmp_path / "work")
    monkeypatch.setattr(names, "PVC_DIR", str(tmp_path / "pvc"))
    monkeypatch.setattr(names, "INPUTS_DIR", str(tmp_path / "inputs"))
    claim = tmp_path / "pvc/data/sets"
    claim.mkdir(parents=True)
    (claim / "train.csv").write_bytes(DATA)
    return tmp_path


def source(uri: str, digest: str | None = None, **more: Any) -> Input:
    """An input named a."""
    described = {"uri": uri} if digest is None else {"uri": uri, "digest": digest}
    return Input.model_validate({"name": "a", "source": described, **more})


def fetch(*wanted: Input) -> tuple[dict[str, Path], list[dict[str, Any]]]:
    """Folders, and what was told."""
    told: list[dict[str, Any]] = []
    return inputs.fetch_all(list(wanted), told.append), told


def sha256(content: bytes) -> str:
    """As digests are written."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_no_inputs() -> None:
    assert fetch() == ({}, [])


def test_a_folder_on_a_claim_is_used_where_it_is_mounted(pod: Path) -> None:
    folders, [told] = fetch(source("pvc://data/sets"))
    assert folders == {"a": pod / "pvc/data/sets"}
    assert told == {
        "type": "input", "name": "a", "uri": "pvc://data/sets",
        "digest": digest(pod / "pvc/data/sets")[0], "size": len(DATA),
    }  # fmt: skip


def test_a_file_on_a_claim_is_found_in_its_folder(pod: Path) -> None:
    folders, [told] = fetch(source("pvc://data/sets/train.csv", sha256(DATA)))
    assert folders == {"a": pod / "pvc/data/sets"}
    assert told["digest"] == sha256(DATA)


def test_a_missing_path_on_a_claim_is_told() -> None:
    with pytest.raises(RunError, match="input 'a': there is nothing at pvc://data/other") as caught:
        fetch(source("pvc://data/other"))
    assert caught.value.reason == "InputMissing"


def test_an_empty_folder_is_missing(pod: Path) -> None:
    """The kubelet makes one where a mount names a folder that is not there."""
    (pod / "here").mkdir()
    with pytest.raises(RunError, match="there is nothing at pvc://data/typo") as caught:
        fetch(source("pvc://data/typo", mountPath=str(pod / "here")))
    assert caught.value.reason == "InputMissing"


def test_a_claim_with_a_mount_path_is_used_there(pod: Path) -> None:
    (pod / "here").mkdir()
    (pod / "here/train.csv").write_bytes(DATA)
    folders, _ = fetch(source("pvc://data/sets", mountPath=str(pod / "here")))
    assert folders == {"a": pod / "here"}


def configmap(**more: Any) -> Input:
    """An input from a ConfigMap."""
    return Input.model_validate(
        {"name": "a", "source": {"configMapRef": {"name": "words"}}, **more}
    )


@pytest.mark.parametrize("more", [{}, {"mountPath": "/elsewhere"}])
def test_a_configmap_is_used_where_it_is_mounted(pod: Path, more: dict[str, str]) -> None:
    if more:
        more = {"mountPath": str(pod / "elsewhere")}
    mounted = pod / ("elsewhere" if more else "inputs/a")
    mounted.mkdir(parents=True)
    (mounted / "words.txt").write_text("a b c")
    folders, [told] = fetch(configmap(**more))
    assert folders == {"a": mounted}
    assert told["size"] == 5


def test_the_lineage_names_the_configmap(pod: Path) -> None:
    (pod / "inputs/a").mkdir(parents=True)
    assert fetch(configmap())[1][0]["uri"] == "configmap://words"


def test_another_digest_than_expected_is_refused() -> None:
    expected = sha256(b"what it was")
    with pytest.raises(RunError, match="input 'a' has digest") as caught:
        fetch(source("pvc://data/sets/train.csv", expected))
    assert caught.value.reason == "DigestMismatch"
    assert sha256(DATA) in caught.value.message
    assert expected in caught.value.message


def test_a_file_is_downloaded(web: Web, pod: Path) -> None:
    folders, [told] = fetch(source(f"{web.url}/data.csv"))
    assert folders == {"a": pod / "inputs/a"}
    assert (folders["a"] / "data.csv").read_bytes() == DATA
    assert (told["uri"], told["size"]) == (f"{web.url}/data.csv", len(DATA))


def test_it_is_downloaded_to_its_mount_path(web: Web, pod: Path) -> None:
    folders, _ = fetch(source(f"{web.url}/data.csv", mountPath=str(pod / "here")))
    assert folders == {"a": pod / "here"}
    assert (pod / "here/data.csv").read_bytes() == DATA


def test_the_digest_of_a_downloaded_file_is_that_of_its_bytes(web: Web) -> None:
    assert fetch(source(f"{web.url}/data.csv", sha256(DATA)))[1][0]["digest"] == sha256(DATA)


def test_a_query_is_no_part_of_the_name(web: Web) -> None:
    """Presigned links have one of hundreds of characters."""
    folders, _ = fetch(source(f"{web.url}/data.csv?X-Amz-Signature=0123"))
    assert [file.name for file in folders["a"].iterdir()] == ["data.csv"]


@pytest.mark.parametrize(
    ("status", "reason"), [(401, "StorageRefused"), (403, "StorageRefused"), (404, "StorageFailed")]
)
def test_an_answer_other_than_success_is_told(web: Web, status: int, reason: str) -> None:
    with pytest.raises(RunError, match=rf"^{web.url}/{status}: ") as caught:
        fetch(source(f"{web.url}/{status}"))
    assert caught.value.reason == reason


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(RunError, match="Connection refused") as caught:
        fetch(source("http://127.0.0.1:1/data.csv"))
    assert caught.value.reason == "StorageFailed"


def test_a_download_that_is_cut_off_is_tried_again(web: Web) -> None:
    web.missing_bytes = 100
    with pytest.raises(RunError, match="got 8 of 108 bytes") as caught:
        fetch(source(f"{web.url}/data.csv"))
    assert caught.value.cause is Cause.INFRASTRUCTURE
    web.missing_bytes = 0
    folders, _ = fetch(source(f"{web.url}/data.csv"))
    assert (folders["a"] / "data.csv").read_bytes() == DATA


def test_nor_is_one_without_a_length_taken_for_whole(web: Web) -> None:
    web.chunked = True
    with pytest.raises(RunError):
        fetch(source(f"{web.url}/data.csv"))


def test_it_is_downloaded_once_a_pod(web: Web) -> None:
    first = fetch(source(f"{web.url}/data.csv"))
    assert fetch(source(f"{web.url}/data.csv")) == first
    assert web.requests == ["/data.csv"]


def test_what_failed_is_tried_again(web: Web) -> None:
    del web.files["/data.csv"]
    with pytest.raises(RunError):
        fetch(source(f"{web.url}/data.csv"))
    web.files["/data.csv"] = DATA
    folders, _ = fetch(source(f"{web.url}/data.csv"))
    assert (folders["a"] / "data.csv").read_bytes() == DATA


def test_processes_that_start_together_download_once(web: Web) -> None:
    second, results = threading.Event(), []
    web.hold = lambda: second.wait(10)

    def work(begun: Callable[[], None]) -> None:
        begun()
        results.append(fetch(source(f"{web.url}/data.csv"))[0])

    threads = [threading.Thread(target=work, args=(begun,)) for begun in (lambda: None, second.set)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(results) == 2
    assert results[0] == results[1]
    assert len(web.requests) == 1


@pytest.mark.parametrize("on_failure", ["Fail", "Warn"])
def test_what_is_checked_is_told_and_fails_in_time(pod: Path, on_failure: str) -> None:
    asked = {"expectations": [{"column": "y", "max": "1"}], "onFailure": on_failure}
    told: list[dict[str, Any]] = []
    one = source("pvc://data/sets", validation=asked)
    reports = Folder("pvc://data/quality")
    if on_failure == "Fail":
        with pytest.raises(
            RunError, match="input 'a': 'y is at most 1' fails for 1 of 1"
        ) as caught:
            inputs.fetch_all([one], told.append, reports)
        assert caught.value.reason == "DataInvalid" and caught.value.permanent
    else:
        assert inputs.fetch_all([one], told.append, reports) == {"a": pod / "pvc/data/sets"}
    [_, result] = told
    assert (result["type"], result["name"], result["passed"]) == ("validation", "a", False)
    assert result["reportUri"] == "pvc://data/quality/a.html"
    assert (pod / "pvc/data/quality/a.html").exists()
    # Others of the pod take the result as it is.
    (pod / "pvc/data/quality/a.html").unlink()
    if on_failure == "Warn":
        inputs.fetch_all([one], told.append, reports)
        assert told[-1] == result and not (pod / "pvc/data/quality/a.html").exists()
