"""The price table: a ConfigMap's keys, and what pods cost by them. Decimals all the way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from loopwright.api import quantity
from loopwright.api.shared import Resources

CURRENCY: Final = re.compile(r"[A-Za-z]{1,8}")
NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
# A key of a ConfigMap has no '/': gpu-hour.amd.com_gpu is the price of amd.com/gpu.
GPU: Final = "gpu-hour"
SPOT: Final = "spot-factor"
GIB: Final = Decimal(2**30)
HOUR: Final = Decimal(3600)
# Amounts are told to a millionth.
STEP: Final = Decimal("0.000001")


class PricesMalformed(ValueError):
    """A table that makes no sense; the message names the key and says what to write."""


@dataclass(frozen=True)
class Prices:
    """What an hour costs, in one currency."""

    currency: str
    cpu: Decimal = Decimal(0)
    """Of a core."""
    memory: Decimal = Decimal(0)
    """Of a GiB."""
    gpus: Mapping[str, Decimal] = field(default_factory=dict)
    """Of a GPU, by extended resource; "" is for all others."""
    spot: Decimal = Decimal(1)
    """What pods on interruptible nodes cost, as a share of the full price."""

    def hour(self, resources: Resources, *, spot: bool = False) -> Decimal:
        """What a pod costs in an hour."""
        gpu = self.gpus.get(resources.gpu_resource, self.gpus.get("", Decimal(0)))
        full = (
            quantity.parse(resources.cpu) * self.cpu
            + quantity.parse(resources.memory) / GIB * self.memory
            + resources.gpu * gpu
        )
        return full * self.spot if spot else full


def parse(data: Mapping[str, str]) -> Prices:
    """The table that a ConfigMap holds.

    Raises:
        PricesMalformed: it makes no sense.
    """
    currency = data.get("currency", "").strip()
    if not CURRENCY.fullmatch(currency):
        raise PricesMalformed("key 'currency' must be a word of letters, for example EUR")
    numbers = {key: _number(key, text) for key, text in data.items() if key != "currency"}
    gpus = {_resource(key): numbers.pop(key) for key in list(numbers) if _is_gpu(key)}
    spot = numbers.pop(SPOT, Decimal(1))
    if spot > 1:
        raise PricesMalformed(f"key '{SPOT}' must be a share from 0 to 1, for example 0.3")
    cpu, memory = (numbers.pop(key, Decimal(0)) for key in ("cpu-hour", "memory-gib-hour"))
    if numbers:
        known = "currency, cpu-hour, memory-gib-hour, gpu-hour, gpu-hour.<resource>, spot-factor"
        raise PricesMalformed(f"key '{min(numbers)}' is none of {known}")
    return Prices(currency, cpu, memory, gpus, spot)


def _is_gpu(key: str) -> bool:
    return key == GPU or key.startswith(f"{GPU}.")


def _resource(key: str) -> str:
    return key.removeprefix(GPU).removeprefix(".").replace("_", "/", 1)


def _number(key: str, text: str) -> Decimal:
    if not NUMBER.fullmatch(text.strip()):
        raise PricesMalformed(f"key '{key}' must be a number such as 0.04, not {text[:40]!r}")
    return Decimal(text.strip())


def added(amount: str | None, more: Decimal) -> str:
    """An amount and what was added to it, as text without a float on the way."""
    found = (Decimal(amount or "0") + more).quantize(STEP)
    return f"{found.normalize():f}"
