"""Files that jobs and monitors read: records, images, archives, labels; and texts of specs."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzzing import damaged, documents, fuzzed
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from loopwright.api import quantity
from loopwright.api.base import ReadUri, RelativePath, ResumeUri, WriteUri
from loopwright.api.batchtransform import BatchInput
from loopwright.api.capture import RedactPath
from loopwright.api.quality import Labels
from loopwright.api.shared import DataSource
from loopwright.api.trainingjob import Script
from loopwright.runtime import inputs
from loopwright.runtime.batch import images, paths, plan, readers
from loopwright.runtime.batch.records import Bad
from loopwright.runtime.errors import RunError
from loopwright.runtime.storage import Folder
from loopwright.serving.capture import layout
from loopwright.serving.capture.storage import CannotStore, Found
from loopwright.serving.quality import reading
from loopwright.serving.tensors import Tensor

NOW = datetime(2026, 11, 30, 7, 30, tzinfo=UTC)


def parquet(**columns: Any) -> bytes:
    """A small Parquet file."""
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, row_group_size=2)
    return sink.getvalue()


def image(kind: str) -> bytes:
    """A small picture."""
    sink = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(sink, kind)
    return sink.getvalue()


FILES = {
    "csv": b'\xef\xbb\xbfa,b\r\n1,x\r\n2,"y, z"\r\n3,\r\n',
    "jsonl": b'{"a":1,"b":"x"}\n{"a":2,"b":[1,{"c":null}]}\n\n3\n',
    "text": "one\nzwölf\n\nthree".encode(),
    "parquet": parquet(a=[1, 2, 3], b=["x", None, "z"], c=[[1.5], [], None]),
}


def read(folder: Path, format: str, compression: str = "None") -> int:
    """How many records there are; those that are bad count too."""
    more = {} if format == "parquet" else {"compression": compression}
    options = BatchInput.model_validate({"uri": "pvc://c/in", "format": format, **more})
    source = Folder.local(folder)
    made = plan.make(source, options, plan.listing(source, options), 64)
    found = 0
    for shard in made.shards:
        for one in readers.read(source, options, shard):
            found += len(one.letters) + (len(list(one.block.rows())) if one.block else 0)
    return found


@pytest.mark.parametrize("format", sorted(FILES))
@fuzzed("records of a batch", examples=25, data=st.data())
def test_records(tmp_path: Path, format: str, data: st.DataObject) -> bool:
    content = data.draw(damaged([FILES[format]]))
    (tmp_path / f"a.{format}").write_bytes(content)
    try:
        read(tmp_path, format)
    except RunError:
        return False
    return True


@fuzzed(
    "records of a batch, compressed", examples=25, content=damaged([gzip.compress(FILES["csv"])])
)
def test_compressed(tmp_path: Path, content: bytes) -> bool:
    (tmp_path / "a.csv.gz").write_bytes(content)
    try:
        read(tmp_path, "csv", "Gzip")
    except RunError:
        return False
    return True


@fuzzed(
    "images", content=damaged([image(k) for k in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")])
)
def test_images(tmp_path: Path, content: bytes) -> bool:
    (tmp_path / "a.png").write_bytes(content)
    shard = plan.Shard(number=0, files=["a.png"], size=len(content))
    wanted = images.Layout(Tensor("x", "float32", (-1, 3, 4, 4)))
    [found] = images.read(Folder.local(tmp_path), shard, wanted)
    assert (found.block is None) == bool(found.letters)
    return found.block is not None


JSON_PATHS = st.one_of(
    st.text(alphabet="$.[]*'?@=<>&|()abc01 -~^#", max_size=20).map(lambda text: f"${text}"),
    st.sampled_from(["$..a..a..a", "$[?@.a == 1]", "$['a', 'b']", "$[?match(@.a, 'a')]", "$[:2]"]),
)  # fmt: skip


@fuzzed("JSONPath of a batch", path=JSON_PATHS, record=documents)
def test_json_paths(path: str, record: Any) -> bool:
    try:
        paths.Filter(path, "inputFilter").named(record)
    except (RunError, Bad):
        return False
    return True


def test_a_record_that_is_too_deep_for_a_path_is_bad_alone() -> None:
    deep: Any = 1
    for _ in range(900):
        deep = {"a": deep}
    with pytest.raises(Bad):
        paths.Filter("$..b", "inputFilter").of(deep)


@fuzzed("JSONPath of what is redacted", path=JSON_PATHS)
def test_redacted_paths(path: str) -> bool:
    from loopwright.serving.capture.bodies import Redactor

    try:
        TypeAdapter(RedactPath).validate_python(path)
    except ValidationError:
        return False
    Redactor([path])
    return True


def archive(kind: str, names: list[str]) -> bytes:
    """An archive with files of these names, and with links."""
    sink = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(sink, "w") as file:
            for name in names:
                file.writestr(name or "x", "content")
        return sink.getvalue()
    with tarfile.open(fileobj=sink, mode="w:gz" if kind == "gz" else "w") as tar:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            if number % 2:
                member.type, member.linkname = tarfile.SYMTYPE, names[number - 1]
                tar.addfile(member)
            else:
                member.size = 3
                tar.addfile(member, io.BytesIO(b"abc"))
    return sink.getvalue()


ARCHIVES = [archive(kind, ["train.py", "lib/a.py"]) for kind in ("zip", "tar", "gz")]
OUTSIDE = "/tmp/loopwright-out"  # noqa: S108 (nobody may write it)
MEMBERS = st.one_of(
    st.sampled_from(["../out", OUTSIDE, "a/../../out", "..", ".", "", "a\\..\\..\\out"]),
    st.text(alphabet="ab./\\", max_size=10),
)  # fmt: skip


@fuzzed(
    "archive of code",
    content=st.one_of(
        damaged(ARCHIVES),
        st.builds(archive, st.sampled_from(["zip", "tar"]), st.lists(MEMBERS, max_size=4)),
    ),
)
def test_archives(tmp_path: Path, content: bytes) -> bool:
    (tmp_path / "claim").mkdir(exist_ok=True)
    (tmp_path / "claim" / "code").write_bytes(content)
    code = tmp_path / "work" / "code"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(inputs, "WORK", tmp_path / "work")
        patched.setattr(inputs.names, "PVC_DIR", str(tmp_path))
        try:
            inputs._unpack(Script(archive_uri="pvc://claim/code"), code)
        except RunError as error:
            assert error.reason in ("ArchiveInvalid", "StorageFailed", "StorageRefused")
            return False
        finally:
            assert {one.name for one in tmp_path.iterdir()} <= {"claim", "work"}
            assert {one.name for one in (tmp_path / "work").iterdir()} <= {"archive", "code"}
            assert not Path(OUTSIDE).exists()
    return True


class FakeBucket(Folder):
    """A bucket whose keys are anything."""

    def __init__(self, *_: Any) -> None:
        self.uri, self.secret = "s3://bucket/data", None

    def is_file(self) -> bool:
        return False

    def files(self, name: str = "") -> list[str]:
        return ["good", "a/../../out"]

    def download(self, name: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("content")


def test_keys_of_a_bucket_stay_below_the_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "Folder", FakeBucket)
    with pytest.raises(RunError, match="leads out of its folder"):
        inputs._download(DataSource(uri="s3://bucket/data"), tmp_path / "inputs")
    assert {one.name for one in tmp_path.iterdir()} == {"inputs"}


URIS = st.one_of(
    st.text(max_size=30),
    st.builds(
        lambda scheme, rest: f"{scheme}://{rest}",
        st.sampled_from(["s3", "pvc", "http", "https", "file", "ftp", "S3"]),
        st.text(alphabet="ab./?#%2e\\@:[]\n\0", max_size=24),
    ),
)  # fmt: skip


@fuzzed("URI", uri=URIS, examples=200)
def test_uris(tmp_path: Path, uri: str) -> bool:
    taken = False
    for kind in (ReadUri, WriteUri, ResumeUri):
        try:
            found: str = TypeAdapter(kind).validate_python(uri)
        except ValidationError:
            continue
        taken = True
        assert found.isascii()
        assert found.isprintable()
        assert ".." not in found.split("/")
        claim, _, path = found.removeprefix("pvc://").partition("/")
        if found.startswith("pvc://"):
            # Where it is read: below the claim's folder.
            assert (tmp_path / claim / path).resolve().is_relative_to(tmp_path / claim)
    return taken


@fuzzed("path in a spec", path=st.text(alphabet="ab./\\ \n\0~$", max_size=16), examples=200)
def test_paths(tmp_path: Path, path: str) -> bool:
    try:
        TypeAdapter(RelativePath).validate_python(path)
    except ValidationError:
        return False
    assert (tmp_path / path).resolve().is_relative_to(tmp_path)
    return True


@pytest.mark.parametrize("uri", ["https://host/a/..?x=1", "https://host/..?"])
def test_uris_without_a_file(tmp_path: Path, uri: str) -> None:
    with pytest.raises(RunError, match="names no file"):
        inputs._download(DataSource(uri=uri), tmp_path / "inputs")


NUMBERS = r"\A[0-9]{0,25}\.?[0-9]{0,12}([eE]?[+-]?[0-9]{1,3}|[numkMGTPE]i?)\Z"


@fuzzed(
    "quantity", examples=200,
    value=st.one_of(st.text(max_size=8), st.from_regex(NUMBERS)),
)  # fmt: skip
def test_quantities(value: str) -> bool:
    try:
        amount = quantity.parse(value)
    except ValueError:
        return False
    assert 0 <= amount < 10**40
    # Of odd ones, with more than six decimals, Kubernetes writes more digits than a spec may have.
    if len(value.partition(".")[2].rstrip("numkMGTPEi")) <= 6:
        assert quantity.parse(quantity.canonical(value)) == amount
    quantity.times(value, 3)
    return True


CAPTURED = parquet(
    time=pa.array([NOW, NOW], pa.timestamp("us", "UTC")), request_id=["a", "b"],
    revision=["r", "r"], status=pa.array([200, 500], pa.int32()),
    response=['{"predictions":[1]}', None],
)  # fmt: skip
LABELS = {
    ".parquet": parquet(request_id=["a", "b"], label=[1, 0], region=["n", None]),
    ".csv": b"request_id,label,region\na,1,n\nb,,s\n",
    ".jsonl": b'{"request_id":"a","label":1,"region":"n"}\n{"request_id":"b","label":true}\n',
}


class FakeStorage:
    """One file."""

    def __init__(self, name: str, content: bytes) -> None:
        self._found, self._content = Found(name, len(content), NOW), content

    def below(self, folder: str) -> Any:
        yield self._found

    def read(self, name: str) -> bytes | None:
        return self._content


@fuzzed("captured requests", content=damaged([CAPTURED]))
def test_captured(content: bytes) -> bool:
    storage: Any = FakeStorage("a.parquet", content)
    try:
        rows = list(
            reading.captured(storage, "e/v", NOW - timedelta(minutes=9), NOW + timedelta(minutes=9))
        )
    except reading.CannotJoin as error:
        assert len(str(error)) < 512
        return False
    return bool(rows)


@pytest.mark.parametrize("suffix", sorted(LABELS))
@fuzzed("labels", examples=25, data=st.data())
def test_labels(suffix: str, data: st.DataObject) -> bool:
    storage: Any = FakeStorage(f"a{suffix}", data.draw(damaged([LABELS[suffix]])))
    asked = Labels.model_validate({"uri": "pvc://claim/labels"})
    try:
        rows = list(reading.labels(storage, asked, ["region"], NOW, lambda _: True))
    except (reading.CannotJoin, CannotStore) as error:
        assert len(str(error)) < 512
        return False
    return bool(rows)


@fuzzed(
    "name of a captured file",
    name=st.text(alphabet="ev/year=2026month11day30hour07.parquet-", max_size=60),
    examples=100,
)
def test_names_of_captured_files(name: str) -> bool:
    with contextlib.suppress(ValueError):
        return layout.expired(
            f"v/year=2026/month=11/day=30/hour=07/{name}", NOW + timedelta(hours=2)
        )
    return False
