"""What training needs in its pods, be it one job's or that of a sweep's trials."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from loopwright.api import names
from loopwright.api.runconfig import RunConfig
from loopwright.api.trainingjob import KIND, Training, TrainingJobSpec, TrialInput
from loopwright.api.validation import InputBaseline
from loopwright.desired.context import (
    AttemptContext,
    JobContext,
    Manifest,
    Mounted,
    claims_of,
)
from loopwright.desired.pods import mounted

# What the pods were made from already; annotations have little room.
SPENT: Final = ("env", "envFrom", "head", "pod", "scheduling")


@dataclass(frozen=True)
class TrainingContext(JobContext):
    """A job whose pods train."""

    checkpoint_uri: str
    """Without a slash at the end."""

    @property
    @abstractmethod
    def training(self) -> Training:
        """What is trained."""

    @property
    def procs(self) -> int:
        """Processes of the training code in each worker pod."""
        procs = self.training.procs_per_worker
        return max(1, self.training.resources_per_worker.gpu) if procs == "auto" else int(procs)

    def support(self) -> list[Manifest]:
        """The script, when it is written in the job itself."""
        script = self.training.script
        if script is None or script.inline is None:
            return []
        return [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": self.metadata(names.script_name(self.kind, self.name)),
                "data": {names.INLINE_SCRIPT_KEY: script.inline},
            }
        ]

    def volumes(self) -> Iterator[Mounted]:
        """Code, inputs, and where a script keeps its checkpoints."""
        yield from self._code()
        local = self.training.checkpoint.local_path if self.training.checkpoint else None
        overrides = (self.spec.pod, self.spec.head.pod)
        if local and local not in {m.mount_path for one in overrides for m in one.volume_mounts}:
            yield mounted("checkpoint", {"emptyDir": {}}, local)
        if self.training.inputs:
            yield mounted("inputs", {"emptyDir": {}}, names.INPUTS_DIR)
        for one in self.training.inputs:
            yield from _input(one)

    def _code(self) -> Iterator[Mounted]:
        script = self.training.script
        if script is not None and script.inline is not None:
            source = {"configMap": {"name": names.script_name(self.kind, self.name)}}
            yield mounted("script", source, names.SCRIPT_DIR, read_only=True)
        elif script is not None and script.config_map_ref is not None:
            source = {"configMap": {"name": script.config_map_ref.name}}
            yield mounted("code", source, names.CODE_DIR, read_only=True)

    def claims(self) -> set[str]:
        """Claims that its URIs name."""
        spec = self.training
        uris = [self.output_uri, self.checkpoint_uri, *(one.source.uri for one in spec.inputs)]
        if spec.script is not None:
            uris.append(spec.script.archive_uri)
        if spec.checkpoint is not None:
            uris.append(spec.checkpoint.resume_from)
        return claims_of(*uris)

    def secrets(self) -> set[str]:
        """Secrets with credentials that its URIs need."""
        spec = self.training
        refs = [one.source.secret_ref for one in spec.inputs]
        refs += [one.secret_ref for one in (spec.output, spec.checkpoint, spec.script) if one]
        return {ref.name for ref in refs if ref is not None}

    def configmaps(self) -> Iterator[tuple[str, str]]:
        """Those with code and data, each with what to do about one that is missing."""
        spec = self.training
        if spec.script is not None and spec.script.config_map_ref is not None:
            file = spec.script.path or "train.py"
            yield spec.script.config_map_ref.name, f"create it with the key {file}"
        for one in spec.inputs:
            if one.source.config_map_ref is not None:
                yield one.source.config_map_ref.name, f"input '{one.name}' reads it"


@dataclass(frozen=True)
class TrainingJobContext(TrainingContext):
    """A TrainingJob, and what the operator filled in for it."""

    kind = KIND
    spec: TrainingJobSpec
    baselines: tuple[InputBaseline, ...] = ()
    """What its inputs are compared with, in all attempts."""

    @property
    def training(self) -> Training:
        """What is trained."""
        return self.spec

    def config(self, attempt: AttemptContext) -> str:
        """The driver's configuration, as JSON."""
        run = RunConfig(
            name=self.name,
            namespace=self.namespace,
            uid=self.uid,
            spec=self.spec,
            image=self.image,
            output_uri=self.output_uri,
            checkpoint_uri=self.checkpoint_uri,
            baselines=list(self.baselines),
        )
        wire = run.wire()
        shorten(wire["spec"])
        return json.dumps(wire, sort_keys=True, ensure_ascii=False)

    def claims(self) -> set[str]:
        """Claims that its URIs name, and those of the models that inputs are compared with."""
        return super().claims() | claims_of(*(one.uri for one in self.baselines))

    def secrets(self) -> set[str]:
        """Secrets with credentials that its URIs need, and those models'."""
        return super().secrets() | {one.secret for one in self.baselines if one.secret}


def shorten(spec: dict[str, Any]) -> None:
    """Takes out of a spec on the wire what the pods were made from, or have in a volume."""
    for field in SPENT:
        spec.pop(field, None)
    if "inline" in (spec.get("script") or {}):
        # It is mounted from a ConfigMap of its own.
        spec["script"]["inline"] = f"# see {names.INLINE_SCRIPT_KEY}"


def _input(one: TrialInput) -> Iterator[Mounted]:
    if one.source.config_map_ref is not None:
        source = {"configMap": {"name": one.source.config_map_ref.name}}
        path = one.mount_path or f"{names.INPUTS_DIR}/{one.name}"
        yield mounted(f"input-{one.name}", source, path, read_only=True)
    elif one.mount_path is not None and one.source.uri is not None:
        yield _folder(one.name, one.source.uri, one.mount_path)


def _folder(name: str, uri: str, path: str) -> Mounted:
    """A folder of the user's choice: part of a claim, or room for what is downloaded."""
    if not uri.startswith("pvc://"):
        return mounted(f"input-{name}", {"emptyDir": {}}, path)
    claim, _, sub = uri.removeprefix("pvc://").partition("/")
    source = {"persistentVolumeClaim": {"claimName": claim}}
    volume, mount = mounted(f"input-{name}", source, path, read_only=True)
    return Mounted(volume, mount | ({"subPath": sub.rstrip("/")} if sub else {}))
