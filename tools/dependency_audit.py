"""Asks a database of vulnerabilities about every locked package, by pip-audit.

Exit codes: 0 nothing known, 1 something known, 3 not audited, since nobody could be asked.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PROGRAM: Final = ROOT / ".venv" / "audit" / "bin" / "pip-audit"
NOT_AUDITED: Final = 3
# What pip-audit says when it could not ask.
UNREACHABLE: Final = (
    "ConnectionError", "ServiceError", "Max retries exceeded", "Could not connect",
    "Failed to establish", "ProxyError", "NameResolutionError", "Read timed out",
)  # fmt: skip


def verdict(code: int, said: str) -> tuple[int, str]:
    """What a run of pip-audit means: an exit code, and a line for people."""
    if code == 0:
        return 0, "no known vulnerabilities"
    if "vulnerabilit" in said and "Found" in said:
        return 1, "known vulnerabilities; see above"
    if any(words in said for words in UNREACHABLE):
        return NOT_AUDITED, "NOT AUDITED: the database of vulnerabilities cannot be reached"
    return NOT_AUDITED, f"NOT AUDITED: pip-audit ended with {code}"


def audit(lock: Path) -> int:
    """Audits a lock; the exit code."""
    words = [str(PROGRAM), "--requirement", str(lock), "--no-deps", "--disable-pip",
             "--require-hashes", "--progress-spinner=off"]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    said = f"{done.stdout}{done.stderr}"
    code, line = verdict(done.returncode, said)
    if code:
        print(said.strip()[-4000:])
    print(f"{lock.name}: {line}")
    return code


def main() -> int:
    """Entry point."""
    locks = sorted((ROOT / "requirements").glob("*.lock"))
    codes = {audit(lock) for lock in locks}
    return 1 if 1 in codes else max(codes)


if __name__ == "__main__":
    sys.exit(main())
