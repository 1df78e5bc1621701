"""What kind ModelQuality adds to the monitor's pod: a container that joins, and a folder.

The account at the API server stays the monitor's, and the keys to the storage the container's. What
was found goes from one to the other through the folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from loopwright.api import names
from loopwright.api.quality_report import QualityConfig
from loopwright.desired.capture import attached, beside, keys, storage, told
from loopwright.desired.context import Manifest, Mounted
from loopwright.desired.endpoint import EndpointContext
from loopwright.desired.pods import mounted

# A file of labels is held as a whole, beside the answers of a window.
MEMORY: Final = "384Mi"


def folder() -> Mounted:
    """What both containers share."""
    return mounted("quality", {"emptyDir": {"sizeLimit": "4Mi"}}, names.QUALITY_DIR)


def joiner(ctx: EndpointContext) -> tuple[Manifest, list[Manifest]] | None:
    """The container and its volumes; none without such a monitor, or while nothing is served."""
    config = _config(ctx)
    if config is None or ctx.spec.suspend:
        return None
    made = beside(ctx, "quality", "loopwright.serving.quality", MEMORY)
    asked = json.dumps(config.wire(), sort_keys=True)
    # Several monitors may name the same claim or Secret.
    volumes = {one.volume["name"]: one for one in _volumes(config)}
    env = [{"name": names.ENV_QUALITY, "value": asked}]
    return attached({**made, "env": env}, list(volumes.values()))


def _volumes(config: QualityConfig) -> Iterator[Mounted]:
    yield folder()
    yield from storage(config.destination)
    if any(one.measures.worse_than_baseline is not None for one in config.monitors):
        yield told(config.endpoint)
    for monitor in config.monitors:
        labels = monitor.measures.labels
        claim = labels.folder.claim
        if claim is not None:
            source = {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
            yield mounted(f"labels-{claim}", source, f"{names.LABELS_DIR}/{claim}", read_only=True)
        if labels.secret_ref is not None:
            yield keys(labels.secret_ref.name)


def _config(ctx: EndpointContext) -> QualityConfig | None:
    capture = ctx.spec.data_capture
    monitors = [one for one in ctx.spec.monitors if one.quality is not None]
    if capture is None or not monitors:
        return None
    return QualityConfig(
        endpoint=ctx.name,
        uid=ctx.uid,
        destination=capture.destination,
        flush_seconds=capture.flush_seconds,
        variants=[one.name for one in ctx.spec.variants],
        monitors=monitors,
    )
