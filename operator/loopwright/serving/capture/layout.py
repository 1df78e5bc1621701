"""Names of files and columns of captured requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Final

EVENT_TYPE: Final = "io.loopwright.inference"
SPEC_VERSION: Final = "1.0"
_HOUR: Final = r"year=(\d{4})/month=(\d{2})/day=(\d{2})/hour=(\d{2})"
# Also what was being written when a pod ended.
_OWN: Final = re.compile(
    rf"[a-z]([-a-z0-9]{{0,61}}[a-z0-9])?/{_HOUR}/[a-z0-9][-a-z0-9.]{{0,252}}-\d{{16}}\.parquet(\.new)?"
)
_FOLDER: Final = re.compile(_HOUR)


@dataclass(frozen=True)
class Origin:
    """Where requests were captured: the same for all of a process."""

    endpoint: str
    namespace: str
    variant: str
    revision: str
    model_version: str
    model_digest: str
    pod: str
    resource: str = "modelendpoints"
    """Of which kind the endpoint is."""

    @property
    def source(self) -> str:
        """As CloudEvents name what an event comes from."""
        return f"/namespaces/{self.namespace}/{self.resource}/{self.endpoint}/{self.variant}"


@dataclass(frozen=True)
class Row:
    """A request, as it is stored."""

    request_id: str
    time: datetime
    """When its head arrived."""
    endpoint: str
    variant: str
    revision: str
    """Of the variant."""
    model_version: str
    """Name of the ModelVersion, if the model is registered."""
    model_digest: str
    protocol: str
    """v1, v2 or grpc; http of what another server has answered."""
    status: int | None
    """Of HTTP, for gRPC too; None if another server's answer was not seen."""
    latency_seconds: float | None
    request: str | None
    """JSON; None if it is not wanted, too large, or cannot be read."""
    request_bytes: int
    """As it was sent; 0 if its body was not read."""
    response: str | None
    response_bytes: int
    ce_id: str
    ce_source: str
    ce_type: str
    ce_specversion: str


COLUMNS: Final = tuple(one.name for one in fields(Row))


def folder(time: datetime) -> str:
    """Where requests of an hour are, below the variant's folder."""
    return time.astimezone(UTC).strftime("year=%Y/month=%m/day=%d/hour=%H")


def path(origin: Origin, hour: str, number: int) -> str:
    """A file, below the destination.

    Args:
        number: Microseconds since the epoch, so that no other process of the pod has the same.
    """
    return f"{origin.endpoint}/{origin.variant}/{hour}/{origin.pod}-{number:016d}.parquet"


def expired(name: str, before: datetime) -> bool:
    """Whether a file below an endpoint's folder is ours, of an hour that was over by then."""
    found = _OWN.fullmatch(name)
    return found is not None and _over(found.groups()[1:5], before)


def past(name: str, before: datetime) -> bool:
    """Whether an hour's folder is in a path, and that hour was over by then."""
    found = _FOLDER.search(name)
    return found is not None and _over(found.groups(), before)


def _over(hour: Sequence[str], before: datetime) -> bool:
    try:
        begin = datetime(*map(int, hour), tzinfo=UTC)  # type: ignore[misc,arg-type]
    except ValueError:
        return False
    return begin + timedelta(hours=1) <= before
