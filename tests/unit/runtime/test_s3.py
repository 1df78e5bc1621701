"""S3 through the real client, against a small server that keeps objects in memory."""

from __future__ import annotations

import http.server
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from loopwright.api.trainingjob import Input
from loopwright.runtime import checkpoints, inputs
from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder

BUCKET = "bucket"


class S3(http.server.ThreadingHTTPServer):
    """Objects of one bucket; `refuse` answers everything with an error instead."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.refuse: tuple[int, str] | None = None
        self.parts: dict[str, bytes] = {}
        self.keys: set[str] = set()


class Handler(http.server.BaseHTTPRequestHandler):
    """The few operations that a folder needs."""

    server: S3
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("ETag", '"e"')
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.keys.add(self.headers.get("Authorization", "").partition("/")[0])
        parts = urllib.parse.urlsplit(self.path)
        bucket, _, key = urllib.parse.unquote(parts.path).lstrip("/").partition("/")
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        if self.server.refuse is not None:
            self._error(*self.server.refuse)
        elif bucket != BUCKET:
            self._error(404, "NoSuchBucket")
        elif self.command == "GET" and "list-type" in query:
            self._list(query.get("prefix", ""), query.get("delimiter", ""))
        elif self.command in ("POST", "PUT"):
            self._change(key, query, body)
        elif self.command == "DELETE":
            self.server.objects.pop(key, None)
            self._answer(204)
        elif not key:
            self._answer(200)
        elif key in self.server.objects:
            self._answer(200, self.server.objects[key])
        else:
            self._error(404, "NoSuchKey")

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _handle  # noqa: N815 (the base's names)

    def _change(self, key: str, query: dict[str, str], body: bytes) -> None:
        if "delete" in query:
            self._delete(body.decode())
        elif "uploads" in query:
            self.server.parts[key] = b""
            text = "<InitiateMultipartUploadResult><UploadId>u</UploadId>"
            self._answer(200, f"{text}</InitiateMultipartUploadResult>".encode())
        elif "partNumber" in query:
            self.server.parts[key] += body
            self._answer(200)
        else:
            multipart = "uploadId" in query
            self.server.objects[key] = self.server.parts.pop(key) if multipart else body
            text = "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>"
            self._answer(200, text.encode() if multipart else b"")

    def _delete(self, body: str) -> None:
        for part in body.split("<Key>")[1:]:
            self.server.objects.pop(part.partition("</Key>")[0], None)
        self._answer(200, b"<DeleteResult></DeleteResult>")

    def _list(self, prefix: str, delimiter: str) -> None:
        entries, folders = [], set()
        for key, content in sorted(self.server.objects.items()):
            rest = key.removeprefix(prefix)
            if not key.startswith(prefix):
                continue
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
                continue
            entries.append(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
                "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            )
        entries += [f"<CommonPrefixes><Prefix>{f}</Prefix></CommonPrefixes>" for f in folders]
        body = f"<IsTruncated>false</IsTruncated><KeyCount>{len(entries)}</KeyCount>"
        text = f"<ListBucketResult>{body}{''.join(entries)}</ListBucketResult>"
        self._answer(200, text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A server that the environment points to."""
    server = S3()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "word")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # Otherwise uploads are framed for a trailing checksum, which this server does not take apart.
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "WHEN_REQUIRED")
    yield server
    server.shutdown()
    server.server_close()


def test_a_folder_in_a_bucket(s3: S3, tmp_path: Path) -> None:
    folder = Folder(f"s3://{BUCKET}/run")
    folder.check_writable()
    assert not [key for key in s3.objects if "write-check" in key]
    folder.write("a/b.json", b"{}")
    assert s3.objects["run/a/b.json"] == b"{}"
    assert folder.read("a/b.json") == b"{}"
    assert folder.read("a/c.json") is None
    assert folder.files() == ["a/b.json"]
    assert folder.folders() == ["a"]
    assert not folder.is_file()
    assert Folder(f"s3://{BUCKET}/run/a/b.json").is_file()
    folder.download("a/b.json", tmp_path / "b.json")
    assert (tmp_path / "b.json").read_bytes() == b"{}"
    assert s3.keys == {"AWS4-HMAC-SHA256 Credential=key"}


def test_checkpoints_in_a_bucket(s3: S3, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/model.bin").write_bytes(b"weights")
    folder = Folder(f"s3://{BUCKET}/checkpoints")
    for step in (1, 2, 3):
        uri = checkpoints.save(folder, tmp_path / "source", step, keep=2)
    kept = [checkpoint.name for checkpoint in checkpoints.complete(folder)]
    assert kept == ["step-000000000002", "step-000000000003"]
    assert checkpoints.to_resume(folder, "Latest", "new") == uri
    back = checkpoints.restore(uri, None, tmp_path / "back")
    assert (back / "model.bin").read_bytes() == b"weights"


@pytest.mark.parametrize("uri", ["s3://bucket/sets/a.csv", "s3://bucket/sets"])
def test_inputs_from_a_bucket(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setattr(inputs, "WORK", tmp_path / "work")
    s3.objects["sets/a.csv"] = b"1,2"
    target = str(tmp_path / "in")
    one = Input.model_validate({"name": "a", "source": {"uri": uri}, "mountPath": target})
    folders = inputs.fetch_all([one], lambda _: None)
    assert (folders["a"] / "a.csv").read_bytes() == b"1,2"


def test_an_input_that_is_not_in_the_bucket(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "WORK", tmp_path / "work")
    source = {"name": "a", "source": {"uri": "s3://bucket/no"}, "mountPath": str(tmp_path / "in")}
    with pytest.raises(RunError, match="there is nothing at s3://bucket/no") as caught:
        inputs.fetch_all([Input.model_validate(source)], lambda _: None)
    assert caught.value.reason == "InputMissing"


@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredToken"])
def test_denied_access_is_told(s3: S3, code: str) -> None:
    s3.refuse = (403, code)
    with pytest.raises(RunError, match="access denied; check its secretRef") as caught:
        Folder(f"s3://{BUCKET}/run").check_writable()
    assert caught.value.reason == "StorageRefused"


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "InvalidAccessKeyId"])
def test_wrong_keys_are_told(s3: S3, code: str) -> None:
    s3.refuse = (403, code)
    with pytest.raises(RunError) as caught:
        Folder(f"s3://{BUCKET}/run").files()
    assert caught.value.reason == "StorageRefused"


def test_a_missing_bucket_is_told(s3: S3) -> None:
    with pytest.raises(RunError) as caught:
        Folder("s3://typo/run").check_writable()
    assert caught.value.reason == "StorageNotFound"
