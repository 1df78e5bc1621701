"""`python -m loopwright.console` serves the console."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys

from aiohttp import web

from loopwright import __version__, logs
from loopwright.console.app import Console
from loopwright.console.settings import ConsoleSettings, SettingsError

logger = logging.getLogger("loopwright.console")


async def run(settings: ConsoleSettings) -> None:
    """Serves until told to stop."""
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    # No access log: paths hold names of objects, and nothing else would be in it.
    runner = web.AppRunner(Console(settings).app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", settings.port).start()  # noqa: S104 (a Service asks)
    logger.info("the console serves on port %d", settings.port)
    await stop.wait()
    await runner.cleanup()


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="loopwright.console", description=__doc__)
    parser.add_argument("--version", action="version", version=f"loopwright {__version__}")
    parser.parse_args()
    try:
        settings = ConsoleSettings.from_env()
    except SettingsError as error:
        print(f"loopwright: {error}", file=sys.stderr)
        return 2
    logs.configure(settings.log_level)
    asyncio.run(run(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
