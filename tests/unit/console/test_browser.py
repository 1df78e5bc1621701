"""Pages as a real browser shows them: on a phone and a desk, in the light and the dark."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer
from console_browser import PROGRAM, browser
from console_worlds import TOKEN, FakeConsole, everything

PATHS = (
    "/", "/trainingjobs", "/n/trainingjobs/digits", "/n/hyperparametersweeps/digits",
    "/n/batchtransforms/digits", "/n/modelendpoints/digits", "/n/models/digits",
    "/n/modelversions/digits-0a1b2c3d4e", "/lineage?namespace=n", "/n/trainingjobs/broken",
)  # fmt: skip
# The relative luminance of WCAG 2, and the least contrast of all texts to what is behind them.
CONTRAST = """(() => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const light = text => parts(text).slice(0, 3).map(v => (v /= 255) <= 0.04045 ? v / 12.92
    : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => { for (; node; node = node.parentElement) {
    const found = getComputedStyle(node).backgroundColor;
    if (!/, 0\\)$/.test(found)) return found; } return 'rgb(255, 255, 255)'; };
  let worst = [99, ''];
  for (const node of document.querySelectorAll('body *:not(svg *)')) {
    if (![...node.childNodes].some(one => one.nodeType === 3 && one.data.trim())) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, node.outerHTML.slice(0, 120)];
  } return worst; })()"""


@pytest.mark.skipif(PROGRAM is None, reason="no Chromium on PATH")
async def test_pages_fit_a_phone_and_can_be_read(tmp_path: Path) -> None:
    async with TestServer(FakeConsole(everything()).app()) as server, browser(tmp_path) as shown:
        for path in PATHS:
            for width, dark in ((390, False), (1280, False), (1280, True)):
                await shown.open(str(server.make_url(path)), width, TOKEN, dark=dark)
                assert shown.complaints == [], (path, shown.complaints)
                assert await shown.value("document.documentElement.scrollWidth") <= width, path
                # Whether the style sheet was taken.
                assert await shown.value("getComputedStyle(document.body).margin") == "0px"
                ratio, where = await shown.value(CONTRAST)
                assert ratio >= 4.5, (path, dark, ratio, where)
                if folder := os.environ.get("LOOPWRIGHT_SCREENSHOTS"):
                    kind = f"{width}{'-dark' if dark else ''}"
                    name = path.split("?")[0].strip("/").replace("/", "-") or "overview"
                    await shown.picture(Path(folder) / f"{name}-{kind}.png")
