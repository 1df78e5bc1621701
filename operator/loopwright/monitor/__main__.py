"""`python -m loopwright.monitor` watches the endpoint that LOOPWRIGHT_MONITOR describes."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from typing import Final

from pydantic import ValidationError

from loopwright import logs
from loopwright.api import names
from loopwright.api.endpoint_report import MonitorConfig
from loopwright.monitor.cluster import Cluster
from loopwright.monitor.scrape import Scraper
from loopwright.monitor.service import serve
from loopwright.monitor.watcher import Watcher

logger = logging.getLogger("loopwright.monitor")

# A pod that answers later is as good as silent.
TIMEOUT: Final = 3.0


async def run(config: MonitorConfig, port: int) -> int:
    """Watches until told to stop (0) or until something breaks (1)."""
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    cluster, scraper = Cluster(config), Scraper(min(TIMEOUT, config.interval_seconds))
    watcher = Watcher(config, cluster, scraper)
    server = await serve(watcher, port)
    work = (cluster.watch(), watcher.run(), watcher.write())
    tasks = [asyncio.create_task(one) for one in work]
    stopping = asyncio.create_task(stop.wait())
    done, pending = await asyncio.wait((*tasks, stopping), return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    await server.cleanup()
    await cluster.close()
    await scraper.close()
    broken = next((error for task in done if (error := task.exception()) is not None), None)
    if broken is not None:
        logger.error("the monitor stops", exc_info=broken)
    return 0 if broken is None else 1


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="loopwright.monitor", description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="of /metrics and /healthz")
    options = parser.parse_args()
    logs.configure(os.environ.get("LOOPWRIGHT_LOG_LEVEL", "INFO"))
    try:
        config = MonitorConfig.model_validate_json(os.environ.get(names.ENV_MONITOR, ""))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        logger.error("%s is malformed: %s %s", names.ENV_MONITOR, where, first["msg"])
        return 2
    return asyncio.run(run(config, options.port))


if __name__ == "__main__":
    sys.exit(main())
