"""Model quality on the real cluster: captured answers, labels that come later, and a verdict."""

from __future__ import annotations

import time
from typing import Any

import pytest
from endpoints import Endpoint, variant
from objects import s3_folder
from pyarrow import fs
from space import Space

pytestmark = [pytest.mark.e2e, pytest.mark.extended]

WINDOW = 30
# Labels may come for so long; then a minute more is waited for uploads.
DELAY = 30
ROWS = 60
DIGIT = [float(i % 16) for i in range(64)]


class Lake:
    """Labels in the bucket."""

    def __init__(self, bucket: fs.S3FileSystem, root: str) -> None:
        self._bucket, self._root, self._files = bucket, root, 0

    def label(self, labels: dict[str, Any], region: str) -> None:
        """Another file."""
        rows = "".join(f"{id},{label},{region}\n" for id, label in labels.items())
        self._files += 1
        with self._bucket.open_output_stream(f"{self._root}/{self._files}.csv") as stream:
            stream.write(f"request_id,label,region\n{rows}".encode())


def told(status: dict[str, Any]) -> dict[str, Any]:
    """What the monitor says of the revision in use."""
    serving = status["variants"][0]["serving"]["revision"]
    found = [one for one in status.get("monitors", []) if one["revision"] == serving]
    return found[0] if found else {}


def greatest(answer: list[float]) -> int:
    """The class that an answer stands for."""
    return answer.index(max(answer)) if len(answer) > 1 else int(answer[0])


@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("digits")
def test_labels_that_come_later_judge_the_answers(space: Space, s3: dict[str, str]) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3-credentials"}}
    space.apply({**secret, "stringData": s3})
    root = f"loopwright/{space.name}"
    lake = Lake(s3_folder(s3, space.kubectl), f"{root}/labels")
    ref = {"name": "s3-credentials"}
    capture = {
        "destination": {"uri": f"s3://{root}/captures", "secretRef": ref},
        "samplePercent": 100, "flushSeconds": 2,
    }  # fmt: skip
    monitor = {
        "name": "answers", "kind": "ModelQuality", "everySeconds": WINDOW, "minSamples": 20,
        "threshold": "0.9", "violatedWindows": 1, "ofWindows": 1,
        "quality": {
            "labels": {"uri": f"s3://{root}/labels", "secretRef": ref, "delaySeconds": DELAY},
            "slices": [{"column": "region"}],
        },
    }  # fmt: skip
    endpoint = Endpoint(space, "digits").apply(variant(), dataCapture=capture, monitors=[monitor])
    endpoint.ready()
    assert endpoint.condition("ModelQualityOK")[0] in ("", "Unknown")

    def until(truth: str, right: bool) -> dict[str, Any]:
        """Asks and labels until the monitor says so."""
        number = 0

        def known(status: dict[str, Any]) -> bool:
            nonlocal number
            number += 1
            prefix = f"{right}-{number}-{time.time_ns()}"
            answers = endpoint.ask(DIGIT, [f"{prefix}-{n}" for n in range(ROWS)])
            labels = {id: greatest(answer) + (not right) for id, answer in answers.items()}
            lake.label(labels, "north" if right else "south")
            return endpoint.condition("ModelQualityOK")[0] == truth

        endpoint.until(f"ModelQualityOK {truth}", known, timeout=360)
        return told(endpoint.status())

    good = until("True", right=True)
    assert (good["state"], good["quality"]["value"]) == ("OK", "1")
    assert good["quality"]["labelled"] >= 20
    assert good["quality"]["worstSlice"] == "region=north"

    bad = until("False", right=False)
    assert bad["state"] == "Violated"
    assert bad["violations"][0]["check"] == "Accuracy"

    # A monitor that is begun anew knows it still, before it has judged another window.
    selector = ("-n", space.name, "-l", "app.kubernetes.io/name=loopwright-monitor")
    space.kubectl.run("delete", "pod", *selector, "--wait")
    end = told(endpoint.status())["windowEnd"]
    later = endpoint.until(
        "another window", lambda status: told(status).get("windowEnd", end) > end, timeout=360
    )
    assert told(later)["windowStart"] >= end

    # Without labels nothing is known, which is not well.
    endpoint.until(
        "silence of labels",
        lambda _: endpoint.condition("ModelQualityOK") == ("Unknown", "NoRequests"),
        timeout=360,
    )
    events = space.kubectl.list("events", space.name)
    assert "ModelQualityViolated" in {one["reason"] for one in events}
    assert space.keys_told(s3) == []
