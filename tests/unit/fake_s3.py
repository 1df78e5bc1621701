"""A small S3 server that keeps the objects of one bucket in memory."""

from __future__ import annotations

import http.server
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from xml.sax.saxutils import escape

import pytest

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
            self._give(self.server.objects[key])
        else:
            self._error(404, "NoSuchKey")

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _handle  # noqa: N815 (the base's names)

    def _give(self, content: bytes) -> None:
        asked = self.headers.get("Range", "").removeprefix("bytes=")
        if not asked or self.command == "HEAD":
            self._answer(200, content)
            return
        first, _, last = asked.partition("-")
        self._answer(206, content[int(first) : int(last) + 1 if last else None])

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
        elif source := self.headers.get("x-amz-copy-source"):
            _, _, name = urllib.parse.unquote(source).lstrip("/").partition("/")
            self.server.objects[key] = self.server.objects[name]
            self._answer(200, b"<CopyObjectResult></CopyObjectResult>")
        else:
            multipart = "uploadId" in query
            self.server.objects[key] = self.server.parts.pop(key) if multipart else body
            text = "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>"
            self._answer(200, text.encode() if multipart else b"")

    def _delete(self, body: str) -> None:
        objects, found = self.server.objects, ""
        for part in body.split("<Key>")[1:]:
            key = part.partition("</Key>")[0]
            # As servers over a file system do, one after the other.
            if key.endswith("/") and any(one != key and one.startswith(key) for one in objects):
                found += f"<Error><Key>{key}</Key><Code>DirectoryNotEmpty</Code></Error>"
                continue
            objects.pop(key, None)
            found += f"<Deleted><Key>{key}</Key></Deleted>"
        self._answer(200, f"<DeleteResult>{found}</DeleteResult>".encode())

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


@contextmanager
def fake_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
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
