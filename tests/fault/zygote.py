"""Starts operators fast: imports everything once, then forks one process for each order.

Reads orders from stdin, a JSON object a line; answers each with the pid. A forked operator is a
process like any other: it is killed, stopped and continued by its pid. `mutant` names a way in
which it is deliberately broken.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import mutants
from kubernetes.aio.config import kube_config

from loopwright import logs, replica
from loopwright.settings import Settings


def operate(order: dict[str, Any]) -> int:
    """What `python -m loopwright` does."""
    log = os.open(order["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.update(order["env"])
    # Read from the environment when the library was imported, which was before.
    kube_config.KUBE_CONFIG_DEFAULT_LOCATION = order["env"]["KUBECONFIG"]
    if order["mutant"]:
        getattr(mutants, order["mutant"])()
    settings = Settings.from_env()
    logs.configure(settings.log_level)
    return replica.main(settings)


def main() -> None:
    """Forks until stdin ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for them here.
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = operate(json.loads(line))
            finally:
                sys.stdout.flush()
                os._exit(code)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
