"""Asks a database of vulnerabilities about every locked package, by pip-audit.

Exit codes: 0 nothing known, 1 something known, 3 not audited, since nobody could be asked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
PROGRAM: Final = ROOT / ".venv" / "audit" / "bin" / "pip-audit"
KNOWN: Final = 1
NOT_AUDITED: Final = 3
# What pip-audit says when it could not ask.
UNREACHABLE: Final = (
    "ConnectionError", "ServiceError", "Max retries exceeded", "Could not connect",
    "Failed to establish", "ProxyError", "NameResolutionError", "Read timed out",
)  # fmt: skip


def verdict(answer: str, said: str) -> tuple[int, str]:
    """What a run of pip-audit means.

    Args:
        answer: What it printed, in JSON; none when it could not ask.
        said: What it said besides.

    Returns:
        An exit code, and lines for people.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except ValueError:
        if any(words in said for words in UNREACHABLE):
            return NOT_AUDITED, "NOT AUDITED: the database of vulnerabilities cannot be reached"
        return NOT_AUDITED, f"NOT AUDITED: pip-audit failed: {said.strip()[-4000:]}"
    if found := [_told(one) for one in packages if one.get("vulns")]:
        return KNOWN, "\n  ".join(["known vulnerabilities:", *found])
    # It calls that success: a mirror may serve packages, and nothing of what is known about them.
    if skipped := [one["name"] for one in packages if "skip_reason" in one]:
        named = f"{len(skipped)} of {len(packages)} packages, {skipped[0]} among them"
        return NOT_AUDITED, f"NOT AUDITED: the database knows nothing of {named}"
    return 0, f"no known vulnerabilities of {len(packages)} packages"


def _told(package: dict[str, Any]) -> str:
    ids = ", ".join(
        f"{one['id']} (mended in {', '.join(one['fix_versions']) or 'no version'})"
        for one in package["vulns"]
    )
    return f"{package['name']} {package['version']}: {ids}"


def audit(lock: Path) -> int:
    """Audits a lock; the exit code."""
    words = [str(PROGRAM), "--requirement", str(lock), "--no-deps", "--disable-pip",
             "--require-hashes", "--progress-spinner=off", "--format=json"]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    code, line = verdict(done.stdout, done.stderr)
    print(f"{lock.name}: {line}")
    return code


def main() -> int:
    """Entry point."""
    locks = sorted((ROOT / "requirements").glob("*.lock"))
    codes = {audit(lock) for lock in locks}
    return KNOWN if KNOWN in codes else max(codes)


if __name__ == "__main__":
    sys.exit(main())
