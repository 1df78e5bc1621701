"""A real browser, asked by its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-headless-shell", "google-chrome", "chrome")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A page of it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self._events: list[Any] = []

    async def ask(self, method: str, **params: Any) -> Any:
        """What it answers; events that come meanwhile are kept."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            told = await self._socket.receive_json(timeout=60)
            if told.get("id") == number:
                assert "error" not in told, told
                return told["result"]
            self._events.append(told)

    async def open(self, url: str, width: int, token: str, *, dark: bool = False) -> None:
        """Shows a page on a screen of some width, as one who has a token."""
        for domain in ("Page", "Network", "Log"):
            await self.ask(f"{domain}.enable")
        await self.ask("Network.setExtraHTTPHeaders", headers={"Authorization": f"Bearer {token}"})
        await self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900,
                       deviceScaleFactor=1, mobile=width < 700)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self._events.clear()
        await self.ask("Page.navigate", url=url)
        while not any(one.get("method") == "Page.loadEventFired" for one in self._events):
            self._events.append(await self._socket.receive_json(timeout=60))

    async def value(self, expression: str) -> Any:
        """What an expression is on the page."""
        answer = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"]["value"]

    @property
    def complaints(self) -> list[str]:
        """What it has logged: refused styles, scripts, files."""
        return [
            one["params"]["entry"]["text"] for one in self._events
            if one.get("method") == "Log.entryAdded"
        ]  # fmt: skip

    async def picture(self, file: Path) -> None:
        """Stores the whole page as it looks."""
        answer = await self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        await asyncio.to_thread(file.write_bytes, base64.b64decode(answer["data"]))


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Browser]:
    """A browser that ends afterwards."""
    assert PROGRAM is not None
    process = await asyncio.create_subprocess_exec(
        PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        async with asyncio.timeout(120):
            while b"DevTools listening" not in (line := await process.stderr.readline()):
                assert line, "the browser has ended"
        where = line.decode().split()[-1].split("/")[2]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{where}/json/list") as answer:
                [page] = [one for one in await answer.json() if one["type"] == "page"]
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Browser(socket)
    finally:
        # Debian's is a script, whose browser would live on.
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
