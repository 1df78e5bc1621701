"""Publishes the results of all shards as a whole.

The order is the promise: old files go before new ones come, the manifest names those that come, and
`_SUCCESS` is written last. Each step may be repeated, so whoever dies, the next attempt ends it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError

from loopwright.api.batch_report import BatchOutputs, BatchRecords
from loopwright.api.batchconfig import BatchConfig
from loopwright.api.monitoring_status import Judged
from loopwright.api.validation import ValidationResult
from loopwright.runtime.batch import staging
from loopwright.runtime.batch.plan import Listing
from loopwright.runtime.batch.records import Letter
from loopwright.runtime.batch.shard import output_folder
from loopwright.runtime.batch.staging import Done
from loopwright.runtime.batch.watching import REPORT
from loopwright.runtime.batch.writers import ending
from loopwright.runtime.errors import RunError, wrong
from loopwright.runtime.storage import CHUNK, refusals

MANIFEST: Final = "_manifest.json"
SUCCESS: Final = "_SUCCESS"
PART: Final = re.compile(r"part-[0-9]+\.[a-z.]+")


class Published(BaseModel):
    """The content of `_SUCCESS`: who published, and what."""

    job: str
    uid: str
    manifest: str
    """sha256 of the manifest, which is the same for all who made the same."""
    shards: int = 0
    dead_letter: str | None = None
    """The file of bad records, if there are any."""
    validation: ValidationResult | None = None
    """What the checks of the data found."""
    monitors: list[Judged] = []
    """What the monitors say of it."""


class Found(NamedTuple):
    """What was found about the data, besides results."""

    validation: ValidationResult | None = None
    monitors: Sequence[Judged] = ()


class Publication:
    """The output of one job."""

    def __init__(self, config: BatchConfig) -> None:
        self._config, self._spec = config, config.spec
        self._folder = output_folder(config)
        self._letters = output_folder(config, config.dead_letter_uri)
        self._letters_name = f"{config.name}.jsonl"

    def published(self) -> Published | None:
        """What a job has published here as a whole."""
        text = self._folder.read(SUCCESS)
        try:
            return None if text is None else Published.model_validate_json(text)
        except ValidationError:
            return Published(job="another program", uid="", manifest="")

    def check_free(self) -> None:
        """Whether this job may publish here; asked before it begins.

        Raises:
            RunError: something is there, and it is not to be replaced.
        """
        if self._spec.output.overwrite == "Replace":
            return
        for name, _, _ in self._folder.stats():
            if name in (SUCCESS, MANIFEST) or not name.startswith(("_", ".")):
                raise self._exists(name)

    def _exists(self, name: str) -> RunError:
        return wrong(
            "OutputExists",
            f"{self._folder.uri} already holds {name}; choose another output.uri, or set"
            " output.overwrite: Replace",
        )

    def outputs(self, known: Published) -> BatchOutputs:
        """What the report says about a publication."""
        manifest = self._manifest() or {}
        files = manifest.get("files", [])
        return BatchOutputs(
            uri=self._folder.uri, manifest_uri=self._folder.child(MANIFEST),
            digest=known.manifest or None, dead_letter_uri=known.dead_letter, files=len(files),
            drift_report_uri=self._folder.child(REPORT) if known.monitors else None,
            bytes=sum(file["size"] for file in files),
        )  # fmt: skip

    def records(self) -> BatchRecords:
        """Counts of what is published."""
        return BatchRecords.model_validate((self._manifest() or {}).get("records", {}))

    def publish(self, done: list[Done], files: Listing, found: Found) -> BatchOutputs:
        """Publishes; nobody sees anything of it before `_SUCCESS` is there.

        Raises:
            RunError: another job has published meanwhile, and is not to be replaced.
        """
        other = self.published()
        if other and other.uid != self._config.uid and self._spec.output.overwrite != "Replace":
            raise self._exists(f"what {other.job} has published meanwhile")
        done = sorted(done, key=lambda one: one.number)
        letters = self.write_letters(done)
        moves = {self._name(one): one for one in done if one.data is not None}
        text = json.dumps(self._content(done, files, moves), indent=1).encode()
        old = self._manifest() or {}
        self._folder.delete(SUCCESS)
        for file in old.get("files", []):
            # Of an earlier publication, or of this one when it was interrupted.
            if file["path"] not in moves and PART.fullmatch(file["path"]):
                self._folder.delete(file["path"])
        self._folder.write(MANIFEST, text)
        for name, one in moves.items():
            self._move(name, one)
        digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
        known = Published(
            job=self._config.name, uid=self._config.uid, manifest=digest, shards=len(done),
            dead_letter=letters, validation=found.validation, monitors=list(found.monitors),
        )  # fmt: skip
        self._folder.sync(MANIFEST)
        self._folder.write(SUCCESS, known.model_dump_json().encode())
        self._folder.sync(SUCCESS)
        return self.outputs(known)

    def write_letters(self, done: Iterable[Done], more: Iterable[Letter] = ()) -> str | None:
        """Writes the dead-letter file, if there is something to write; returns its URI.

        Args:
            more: Of shards that are not done.
        """
        parts = [one.letters for one in done if one.letters is not None]
        loose = [one.line_of_json() for one in more]
        if not parts and not loose:
            self._letters.delete(self._letters_name)
            return None
        with refusals(self._letters.uri), self._letters.create(self._letters_name) as to:
            for part in parts:
                with self._folder.open(part) as stream:
                    while chunk := stream.read(CHUNK):
                        to.write(chunk)
            to.write(b"".join(loose))
        return self._letters.child(self._letters_name)

    def _content(self, done: list[Done], files: Listing, moves: dict[str, Done]) -> dict[str, Any]:
        """The manifest. No times, and nobody's name: the same input gives the same bytes."""
        digests = sorted({one.model_digest for one in done} - {""})
        ref = self._spec.endpoint_ref
        answered = sorted({name for one in done for name in one.answered})
        return {
            "version": 1,
            "format": self._spec.output_format,
            "input": {
                "uri": self._spec.input.uri, "files": len(files), "bytes": sum(f[1] for f in files),
            },
            "modelDigest": digests[0] if digests else None,
            **({"endpoint": {**ref.wire(), "answered": answered}} if ref is not None else {}),
            "records": {
                "read": sum(one.read for one in done),
                "written": sum(one.written for one in done),
                "failed": sum(one.failed for one in done),
            },
            "files": [
                {"path": name, "records": one.written, "size": one.size, "sha256": one.sha256}
                for name, one in moves.items()
            ],
        }  # fmt: skip

    def _name(self, done: Done) -> str:
        end = ending(self._spec.output_format, self._spec.output.compression)
        return f"part-{done.number:05d}.{end}"

    def _move(self, name: str, done: Done) -> None:
        assert done.data is not None
        there = self._folder.stat(done.data)
        if there is None:
            # Moved before an earlier attempt was interrupted.
            there = self._folder.stat(name)
        else:
            self._folder.move(done.data, name)
        if there is None or there[0] != done.size:
            raise RunError(
                "OutputDamaged", f"{self._folder.child(name)} is not what was written; delete"
                f" {self._folder.child(staging.name(self._config.uid))} to begin anew",
            )  # fmt: skip

    def _manifest(self) -> dict[str, Any] | None:
        text = self._folder.read(MANIFEST)
        try:
            found = None if text is None else json.loads(text)
        except ValueError:
            return None  # It was cut off while it was written.
        # Another program may call its own so.
        return found if isinstance(found, dict) and found.get("version") == 1 else None
