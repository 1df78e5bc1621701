"""`python -m loopwright` runs the operator."""

from __future__ import annotations

import argparse
import sys

from loopwright import __version__


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="loopwright", description="The Loopwright operator.")
    parser.add_argument("--version", action="version", version=f"loopwright {__version__}")
    parser.parse_args()
    from loopwright import logs, replica
    from loopwright.settings import Settings, SettingsError

    try:
        settings = Settings.from_env()
    except SettingsError as error:
        print(f"loopwright: {error}", file=sys.stderr)
        return 2
    logs.configure(settings.log_level)
    return replica.main(settings)


if __name__ == "__main__":
    sys.exit(main())
