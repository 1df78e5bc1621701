"""RayJobs, as far as decisions are made by them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from loopwright.api import names
from loopwright.api.resources import RAYCLUSTER, RAYJOB, Key
from loopwright.decide.types import RayJobView
from loopwright.reconcile.children import owners
from loopwright.reconcile.context import Context


def views(ctx: Context, key: Key, uid: str) -> dict[int, RayJobView]:
    """Those of a job, by attempt."""
    return {view.attempt: view for view in _views(ctx, key, uid)}


def _views(ctx: Context, key: Key, uid: str) -> Iterator[RayJobView]:
    clusters = {c["metadata"]["name"]: c for c in ctx.cache.children(key, RAYCLUSTER.kind)}
    for obj in ctx.cache.children(key, RAYJOB.kind):
        status, meta = obj.get("status") or {}, obj["metadata"]
        attempt = names.attempt_of(key.kind, key.name, meta["name"])
        if attempt is None or uid not in owners(obj):
            continue
        cluster = status.get("rayClusterName", "")
        live = (clusters.get(cluster) or {}).get("status") or {}
        yield RayJobView(
            name=meta["name"],
            uid=meta["uid"],
            attempt=attempt,
            deployment=status.get("jobDeploymentStatus", ""),
            job=status.get("jobStatus", ""),
            reason=status.get("reason", ""),
            message=status.get("message", ""),
            cluster=cluster,
            dashboard=status.get("dashboardURL", ""),
            ready_workers=live.get("readyWorkerReplicas", 0),
            ended=_time(status.get("endTime")),
            deleting="deletionTimestamp" in meta,
            version=meta["resourceVersion"],
        )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
