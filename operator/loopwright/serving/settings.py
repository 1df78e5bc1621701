"""Settings: each a LOOPWRIGHT_* variable and a flag; flags win."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Final, NoReturn, Self

from loopwright.api import names, serving
from loopwright.serving.errors import CannotServe

INVALID: Final = "SettingsInvalid"
COMPONENTS: Final = ("predictor", "transformer", "explainer")


def _setting(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


class Told:
    """Settings of a program: the field `x_y` is the variable LOOPWRIGHT_X_Y and the flag --x_y."""

    program: ClassVar[str]
    """What is run as `python -m`."""
    least: ClassVar[Mapping[str, int]] = {}
    """Of numbers that may be less than 1, though that is not their default."""

    log_level: str

    @classmethod
    def load(cls, argv: Sequence[str], env: Mapping[str, str] = os.environ) -> Self:
        """Settings of a command line and an environment.

        Raises:
            CannotServe: a value is wrong; the message names its flag.
        """
        parser = _Parser(prog=f"python -m {cls.program}", allow_abbrev=False)
        for name, default, text in described(cls):
            convert = _flag if isinstance(default, bool) else type(default)
            parser.add_argument(f"--{name}", type=convert, default=default, help=text)
        given = [
            f"--{name}={env[variable]}"
            for name, _, _ in described(cls)
            if (variable := f"LOOPWRIGHT_{name.upper()}") in env
        ]
        return cls(**vars(parser.parse_args([*given, *argv])))

    def __post_init__(self) -> None:
        for name, default, _ in described(type(self)):
            value, least = getattr(self, name), self.least
            if isinstance(default, int | float) and not value >= least.get(name, int(default > 0)):
                raise CannotServe(INVALID, f"--{name} must not be {value}")
        if self.log_level not in logging.getLevelNamesMapping():
            raise CannotServe(INVALID, f"--log_level must not be {self.log_level!r}; use INFO")


@dataclass(frozen=True)
class Settings(Told):
    """The model server's."""

    program = "loopwright.serving"
    least: ClassVar = {"threads": 0, "grpc_port": 0, "drain_seconds": 0, "max_latency_ms": 0}

    model_name: str = _setting("model", "name in URLs and requests")
    model_version: str = _setting("", "version that clients are told of, and may ask for")
    model_uri: str = _setting(
        "", "where the model directory is: s3://bucket/path, pvc://claim/path or a local folder"
    )
    model_dir: str = _setting("/mnt/models", "local folder of the model, without a model_uri")
    model_digest: str = _setting(
        "", "digest of the directory's model.json; without one any model is served"
    )
    architectures: str = _setting(
        "", "modules, separated by commas, whose functions may build networks for safetensors"
    )
    endpoint: str = _setting("", "label `endpoint` of all metrics; by default the model's name")
    variant: str = _setting("", "label `variant` of all metrics")
    revision: str = _setting("", "column `revision` of captured requests")
    registered_version: str = _setting("", "column `model_version` of captured requests")
    capture_config: str = _setting(
        "", "file that says what to keep of requests, and may change; by default nothing is kept"
    )
    http_port: int = _setting(serving.HTTP_PORT, "REST, probes and metrics")
    grpc_port: int = _setting(serving.GRPC_PORT, "gRPC; 0 turns it off")
    threads: int = _setting(0, "predictions at the same time; 0: one for each CPU of the container")
    intra_op_threads: int = _setting(1, "threads that one prediction may use")
    max_batch_size: int = _setting(
        1, "rows of different requests that are predicted together; 1 turns it off"
    )
    max_latency_ms: float = _setting(5.0, "how long a request may wait for others to join it")
    max_body_bytes: int = _setting(16 << 20, "larger requests are answered with 413")
    max_in_flight: int = _setting(512, "requests beyond that are answered with 503")
    allow_missing: bool = _setting(False, "let NaN, and null in JSON, stand for missing values")
    drain_seconds: float = _setting(
        5.0, "how long requests are still accepted after SIGTERM, while the pod is not ready"
    )
    drain_timeout_seconds: float = _setting(20.0, "how long requests may then take to finish")
    log_level: str = _setting("INFO", "least level of log lines")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.endpoint:
            object.__setattr__(self, "endpoint", self.model_name)
        if not self.threads:
            object.__setattr__(self, "threads", cpus())


@dataclass(frozen=True)
class CollectorSettings(Told):
    """Those of the collector of KServe's events."""

    program = "loopwright.serving.capture.collector"
    least: ClassVar = {"drain_seconds": 0}

    capture_config: str = _setting(
        f"{names.CAPTURE_CONFIG_DIR}/{names.CAPTURE_KEY}",
        "file that says what to keep, and of which InferenceService; what to keep may change",
    )
    component: str = _setting(
        COMPONENTS[0], f"part of the InferenceService: {', '.join(COMPONENTS)}; column `variant`"
    )
    http_port: int = _setting(serving.HTTP_PORT, "events, probes and metrics")
    wait_seconds: float = _setting(
        60.0, "how long a request waits for its answer, and an answer for its request"
    )
    max_body_bytes: int = _setting(4 << 20, "larger events are answered with 413")
    drain_seconds: float = _setting(
        5.0, "how long events are still taken after SIGTERM, while the pod is not ready"
    )
    drain_timeout_seconds: float = _setting(5.0, "how long events that have begun may then take")
    log_level: str = _setting("INFO", "least level of log lines")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.component not in COMPONENTS:
            known = ", ".join(COMPONENTS)
            raise CannotServe(INVALID, f"--component must not be {self.component!r}; use {known}")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CannotServe(INVALID, f"{message}; see --help, and the variables LOOPWRIGHT_*")


def described(of: type[Any] = Settings) -> Iterator[tuple[str, Any, str]]:
    """Name, default and meaning of every setting, by default of the model server."""
    for one in fields(of):
        yield one.name, one.default, one.metadata["help"]


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"must be true or false, not {text!r}")
    return text.lower() == "true"


def cpus(root: str = "/sys/fs/cgroup") -> int:
    """CPUs of this container: its quota, rounded up, where it has one."""
    affinity = len(os.sched_getaffinity(0))
    for file, split in (("cpu.max", True), ("cpu/cpu.cfs_quota_us", False)):
        try:
            with open(f"{root}/{file}") as stream:
                quota = stream.read().split()
            if split:
                limit, period = quota
            else:
                with open(f"{root}/cpu/cpu.cfs_period_us") as stream:
                    [limit], period = quota, stream.read()
            if limit not in ("max", "-1"):
                return max(1, min(affinity, -(-int(limit) // int(period))))
        except (OSError, ValueError):
            continue
    return affinity
