"""Faults: functions that stand between the operator and the API server."""

from __future__ import annotations

import asyncio
import json
import math
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from operators import Deployment
from proxy import Answer, Fault, Forward, Lost, Request

Matches = Callable[[Request], bool]


def writes(request: Request) -> bool:
    """Every write but the Lease's."""
    return request.write


class KillAt:
    """Kills the operator at the given writes, before or after the API server has them."""

    def __init__(self, deployment: Deployment, numbers: Collection[int], when: str) -> None:
        self._deployment, self._numbers, self._when = deployment, numbers, when
        self.seen = 0
        self.at: list[str] = []
        """The writes at which it happened."""

    async def __call__(self, request: Request, forward: Forward) -> Answer:
        """The fault."""
        if not request.write:
            return await forward()
        self.seen += 1
        if self.seen not in self._numbers:
            return await forward()
        self.at.append(str(request))
        if self._when == "after":
            await forward()
        # Whoever looks next must not take a process that still dies for one at rest.
        await self._deployment.end(signal.SIGKILL)
        raise Lost


def refuse(status: int, matches: Matches, times: int | None = None, **headers: str) -> Fault:
    """Answers with a refusal instead of asking the API server, a number of times or always."""
    left = [times]

    async def fault(request: Request, forward: Forward) -> Answer:
        if not matches(request) or left[0] == 0:
            return await forward()
        if left[0] is not None:
            left[0] -= 1
        return Answer.refusal(status, **headers)

    return fault


def every_first(status: int) -> Fault:
    """Refuses each write once before it passes, whenever it comes."""
    refused: set[str] = set()

    async def fault(request: Request, forward: Forward) -> Answer:
        if not request.write or str(request) in refused:
            refused.discard(str(request))
            return await forward()
        refused.add(str(request))
        return Answer.refusal(status)

    return fault


def lose_answers(matches: Matches) -> Fault:
    """Forwards, and loses the answers."""

    async def fault(request: Request, forward: Forward) -> Answer:
        answer = await forward()
        if matches(request):
            raise Lost
        return answer

    return fault


def sometimes(share: float, statuses: Collection[int], seed: int = 1) -> Fault:
    """Refuses a share of all requests."""
    dice = random.Random(seed)  # noqa: S311

    async def fault(request: Request, forward: Forward) -> Answer:
        if dice.random() < share:
            return Answer.refusal(dice.choice(sorted(statuses)))
        return await forward()

    return fault


class Busy:
    """Has no time for anything, for a while; notes when who asked."""

    def __init__(self, retry_after: int, seconds: float) -> None:
        self._retry_after, self._until = str(retry_after), time.monotonic() + seconds
        self.asked: defaultdict[str, list[float]] = defaultdict(list)
        """Times, by all that tells a request from others."""

    async def __call__(self, request: Request, forward: Forward) -> Answer:
        """The fault."""
        now = time.monotonic()
        if now >= self._until:
            return await forward()
        self.asked[f"{request.method} {request.path} {request.query}"].append(now)
        return Answer.refusal(429, **{"Retry-After": self._retry_after})


class Swallow:
    """Does not answer at all, for a while, or until told to."""

    def __init__(self, matches: Matches, seconds: float = math.inf) -> None:
        self._matches, self.until = matches, time.monotonic() + seconds
        self.waits: list[float] = []
        """Seconds after which the operator gave up."""

    async def __call__(self, request: Request, forward: Forward) -> Answer:
        """The fault."""
        began = time.monotonic()
        if not self._matches(request) or began >= self.until:
            return await forward()
        while request.waits():  # noqa: ASYNC110 (a connection, not an event)
            await asyncio.sleep(0.1)
        self.waits.append(time.monotonic() - began)
        raise Lost


def mutate(change: Callable[[dict[str, Any]], None], matches: Matches) -> Fault:
    """Changes objects that are written, as an admission webhook of others may."""

    async def fault(request: Request, forward: Forward) -> Answer:
        if request.method not in ("POST", "PATCH") or not matches(request):
            return await forward()
        obj = json.loads(request.body)
        change(obj)
        return await forward(replace(request, body=json.dumps(obj).encode()))

    return fault


def resource(*names: str) -> Matches:
    """Requests about resources, by plural and sub-resource."""
    return lambda request: request.resource in names
