"""Collects requests, and writes them as Parquet: at a size, after a time, and at the end."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from loopwright.api.capture import DataCapture
from loopwright.serving.capture import layout
from loopwright.serving.capture.bodies import Redactor
from loopwright.serving.capture.frames import Body, Record
from loopwright.serving.capture.layout import Origin, Row
from loopwright.serving.capture.storage import CannotStore, Storage

MAX_ROWS: Final = 10_000
# Of bodies, before they are compressed.
MAX_BYTES: Final = 8 << 20
# Of what a row has besides its bodies.
_ROW_BYTES: Final = 500
# Between attempts to upload a file; then it is given up, for others wait behind it.
PAUSES: Final = (1.0, 2.0, 4.0)

Tell = Callable[[dict[str, Any]], None]
"""Is told what became of requests: stored, dropped, uploaded, failed, failing and error."""


class Writer:
    """Writes the requests of one process."""

    def __init__(
        self,
        origin: Origin,
        capture: DataCapture,
        storage: Callable[[], Storage],
        tell: Tell,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """
        Args:
            storage: Opened for each file, since credentials may be replaced.

        Raises:
            jsonpath.JSONPathError: what is to be redacted makes no sense.
        """
        self._origin, self._capture, self._storage, self._tell = origin, capture, storage, tell
        self._pauses = pauses
        self._redactor = Redactor(capture.redact)
        self._rows: list[Row] = []
        self._bytes, self._since, self._number = 0, 0.0, 0

    def take(self, record: Record) -> None:
        """Takes a request; writes all when there are enough, or the hour is another."""
        moment = datetime.fromtimestamp(record.time, UTC)
        if self._rows and layout.folder(self._rows[0].time) < layout.folder(moment):
            self.flush()
        if not self._rows:
            self._since = time.monotonic()
        row = self._row(record, moment)
        self._rows.append(row)
        self._bytes += _ROW_BYTES + len(row.request or "") + len(row.response or "")
        if len(self._rows) >= MAX_ROWS or self._bytes >= MAX_BYTES:
            self.flush()

    @property
    def wait(self) -> float | None:
        """Seconds until what there is must be written; None if there is nothing."""
        if not self._rows:
            return None
        return max(0.0, self._since + self._capture.flush_seconds - time.monotonic())

    def flush(self) -> None:
        """Writes what there is."""
        by_hour: dict[str, list[Row]] = {}
        for row in self._rows:
            by_hour.setdefault(layout.folder(row.time), []).append(row)
        self._rows, self._bytes = [], 0
        for hour, rows in by_hour.items():
            self._number = max(self._number + 1, time.time_ns() // 1000)
            self._upload(layout.path(self._origin, hour, self._number), rows)

    def _upload(self, name: str, rows: list[Row]) -> None:
        content = parquet(rows)
        for pause in (*self._pauses, None):
            try:
                self._storage().put(name, content)
            except CannotStore as error:
                self._tell({"failed": 1, "failing": True, "error": str(error)})
                if pause is not None:
                    time.sleep(pause)
            else:
                self._tell({"stored": len(rows), "uploaded": 1, "failing": False})
                return
        self._tell({"dropped": len(rows)})

    def _row(self, record: Record, moment: datetime) -> Row:
        origin = self._origin
        return Row(
            request_id=record.id,
            time=moment,
            endpoint=origin.endpoint,
            variant=origin.variant,
            revision=origin.revision,
            model_version=origin.model_version,
            model_digest=origin.model_digest,
            protocol=record.protocol,
            status=record.status,
            latency_seconds=record.seconds,
            request=self._text(record.request),
            request_bytes=record.request.size,
            response=self._text(record.response),
            response_bytes=record.response.size,
            ce_id=record.id,
            ce_source=origin.source,
            ce_type=layout.EVENT_TYPE,
            ce_specversion=layout.SPEC_VERSION,
        )

    def _text(self, body: Body) -> str | None:
        if body.content is None:
            return None
        return self._redactor.text(body.kind, body.content, body.json_length)


def parquet(rows: Sequence[Row]) -> bytes:
    """A file."""
    from arro3.core import Array, DataType, Table
    from arro3.io import write_parquet

    numbers = {
        "status": DataType.int32(),
        "latency_seconds": DataType.float64(),
        "request_bytes": DataType.int64(),
        "response_bytes": DataType.int64(),
    }
    arrays = []
    for name in layout.COLUMNS:
        if name == "time":
            found = Array([_microseconds(row.time) for row in rows], type=DataType.int64())
            arrays.append(found.cast(DataType.timestamp("us", tz="UTC")))
        else:
            values = [getattr(row, name) for row in rows]
            arrays.append(Array(values, type=numbers.get(name, DataType.utf8())))
    table = Table.from_arrays(arrays, names=list(layout.COLUMNS))
    out = io.BytesIO()
    write_parquet(table, out, compression="zstd(3)")
    return out.getvalue()


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
