"""Scripts: inline, from ConfigMaps and from archives, of which some are hostile."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from loopwright.api import names
from loopwright.api.trainingjob import Script
from loopwright.runtime import inputs
from loopwright.runtime.errors import RunError

pytestmark = pytest.mark.timeout(30)

CODE = {"train.py": b"print('hello')\n", "pkg/model.py": b"LAYERS = 2\n"}


class Web(http.server.ThreadingHTTPServer):
    """Serves one archive, whatever its name."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.requests = 0
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET."""

    server: Web

    def do_GET(self) -> None:
        """The archive."""
        self.server.requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

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
    monkeypatch.setattr(inputs, "WORK", tmp_path / "pod/work")
    for name in ("PVC_DIR", "CODE_DIR", "SCRIPT_DIR"):
        monkeypatch.setattr(names, name, str(tmp_path / "pod" / name.lower()))
    (tmp_path / "pod").mkdir()
    return tmp_path / "pod"


def tar(files: Mapping[str, bytes], mode: str = "w:gz", *more: tarfile.TarInfo) -> bytes:
    """An archive of these files, and of other entries."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
        for entry in more:
            file.addfile(entry)
    return buffer.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip archive of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A link, device or fifo."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def unpacked(web: Web, content: bytes, name: str = "code.tar.gz", **more: Any) -> Path:
    """The script's path from an archive."""
    web.content = content
    script = {"archiveUri": f"{web.url}/{name}", **more}
    return inputs.script_path(Script.model_validate(script))


def refused(web: Web, content: bytes, reason: str = "ArchiveInvalid", **more: Any) -> str:
    """The message with which an archive is refused."""
    with pytest.raises(RunError) as caught:
        unpacked(web, content, **more)
    assert caught.value.reason == reason
    return caught.value.message


def mounted(files: Mapping[str, str]) -> None:
    """A ConfigMap as the kubelet mounts it."""
    folder = Path(names.CODE_DIR)
    version = folder / "..2026_01_01"
    version.mkdir(parents=True)
    (folder / "..data").symlink_to(version.name)
    for key, text in files.items():
        (version / key).write_text(text)
        (folder / key).symlink_to(f"..data/{key}")


def test_an_inline_script_is_mounted(pod: Path) -> None:
    script = Script.model_validate({"inline": "print()"})
    assert inputs.script_path(script) == pod / "script_dir/script.py"


def test_a_configmaps_key_is_the_script(pod: Path) -> None:
    mounted({"train.py": "", "other.py": ""})
    reference = {"configMapRef": {"name": "code"}}
    assert inputs.script_path(Script.model_validate(reference)) == pod / "code_dir/train.py"
    chosen = Script.model_validate({**reference, "path": "other.py"})
    assert inputs.script_path(chosen) == pod / "code_dir/other.py"


def test_a_missing_script_lists_what_there_is() -> None:
    mounted({"main.py": "", "util.py": ""})
    script = Script.model_validate({"configMapRef": {"name": "code"}})
    with pytest.raises(RunError) as caught:
        inputs.script_path(script)
    assert caught.value.reason == "ScriptMissing"
    assert caught.value.message == "script train.py not found; there is: main.py, util.py"


def test_an_empty_folder_says_so_and_a_full_one_is_cut() -> None:
    script = Script.model_validate({"configMapRef": {"name": "code"}, "path": "a/b.py"})
    with pytest.raises(RunError, match=r"^script a/b\.py not found; there is: nothing$"):
        inputs.script_path(script)
    mounted({f"a-long-name-{index}": "" for index in range(100)})
    with pytest.raises(RunError) as caught:
        inputs.script_path(script)
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("code.tar.gz", tar(CODE)),
        ("code.tar", tar(CODE, "w:")),
        ("code.zip", zipped(CODE)),
        ("download", zipped(CODE)),
    ],
)
def test_archives_are_unpacked(web: Web, pod: Path, name: str, content: bytes) -> None:
    path = unpacked(web, content, name)
    assert path == pod / "work/code/train.py"
    for file, text in CODE.items():
        assert (pod / "work/code" / file).read_bytes() == text


def test_a_script_within_an_archive(web: Web, pod: Path) -> None:
    assert unpacked(web, tar(CODE), path="pkg/model.py") == pod / "work/code/pkg/model.py"


def test_a_missing_script_lists_what_the_archive_holds(web: Web) -> None:
    message = refused(web, tar(CODE), "ScriptMissing", path="main.py")
    assert message == "script main.py not found; there is: pkg/model.py, train.py"


def test_it_is_unpacked_once_a_pod(web: Web) -> None:
    first = unpacked(web, tar(CODE))
    assert unpacked(web, b"something else") == first
    assert web.requests == 1


def test_the_digest_is_checked_before_anything_is_unpacked(web: Web, pod: Path) -> None:
    good = f"sha256:{hashlib.sha256(tar(CODE, 'w:')).hexdigest()}"
    message = refused(web, zipped(CODE), "DigestMismatch", digest=good)
    assert "has digest sha256:" in message
    assert not (pod / "work/code").exists()
    assert unpacked(web, tar(CODE, "w:"), digest=good).is_file()


LINKS = {
    "a link out": entry("pkg/link", tarfile.SYMTYPE, "../../../secret"),
    "an absolute link": entry("link", tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link out": entry("link", tarfile.LNKTYPE, "../../secret"),
    "a device": entry("null", tarfile.CHRTYPE),
    "a fifo": entry("pipe", tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("kind", LINKS)
def test_a_tar_with_links_or_devices_is_refused(web: Web, pod: Path, kind: str) -> None:
    message = refused(web, tar(CODE, "w:gz", LINKS[kind]))
    assert message.startswith(f"{web.url}/code.tar.gz: ")


@pytest.mark.parametrize("name", ["../evil", "../../evil", "pkg/../../../evil"])
@pytest.mark.parametrize("make", [tar, zipped])
def test_names_that_lead_out_are_refused(web: Web, pod: Path, make: Any, name: str) -> None:
    refused(web, make({**CODE, name: b"evil"}))
    assert [path for path in pod.parent.rglob("evil")] == []


def test_an_absolute_name_in_a_zip_is_refused(web: Web, tmp_path: Path) -> None:
    message = refused(web, zipped({f"{tmp_path}/evil": b"evil"}))
    assert "leads out of it" in message
    assert not (tmp_path / "evil").exists()


def test_an_absolute_name_in_a_tar_stays_inside(web: Web, pod: Path, tmp_path: Path) -> None:
    unpacked(web, tar({**CODE, f"{tmp_path}/evil": b"evil"}))
    assert not (tmp_path / "evil").exists()
    assert (pod / "work/code" / str(tmp_path)[1:] / "evil").exists()


def test_bits_that_grant_rights_are_not_unpacked(web: Web) -> None:
    info = tarfile.TarInfo("tool")
    info.mode = 0o6777
    tool = unpacked(web, tar(CODE, "w:gz", info), path="tool")
    assert tool.stat().st_mode & 0o6022 == 0


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut"])
def test_what_is_no_archive_is_refused(web: Web, content: bytes) -> None:
    assert refused(web, content).startswith(f"{web.url}/code.tar.gz: ")


@pytest.mark.parametrize("fault", ["cut", "encrypted"])
def test_a_damaged_archive_is_refused(web: Web, fault: str) -> None:
    if fault == "cut":
        large = tar({"train.py": bytes(range(256)) * 400})
        refused(web, large[: len(large) // 2])
        return
    whole = bytearray(zipped(CODE))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        whole[whole.index(mark) + offset] |= 1
    refused(web, bytes(whole))


def test_a_tar_that_holds_a_zip_is_a_tar(web: Web) -> None:
    """As a wheel or a torch checkpoint is."""
    content = tar({**CODE, "lib.whl": zipped({"lib.py": b""})}, "w:")
    assert unpacked(web, content, "code.tar").is_file()


def test_an_archive_on_a_claim(pod: Path) -> None:
    claim = pod / "pvc_dir/code"
    claim.mkdir(parents=True)
    (claim / "code.tar.gz").write_bytes(tar(CODE))
    script = Script.model_validate({"archiveUri": "pvc://code/code.tar.gz"})
    assert inputs.script_path(script).is_file()


def test_a_folder_of_files_is_no_archive(pod: Path) -> None:
    claim = pod / "pvc_dir/code"
    claim.mkdir(parents=True)
    for name in CODE:
        (claim / name.replace("/", "_")).write_bytes(CODE[name])
    script = Script.model_validate({"archiveUri": "pvc://code"})
    with pytest.raises(RunError, match="pvc://code is a folder") as caught:
        inputs.script_path(script)
    assert caught.value.reason == "ArchiveInvalid"
