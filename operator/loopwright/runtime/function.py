"""Calls `module:callable` inside a torch process group: one of these runs for each process."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any


def load(target: str) -> Callable[[dict[str, str]], Any]:
    """The callable, or SystemExit with a line that says which part is missing."""
    name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        sys.exit(f"function {target}: {error}; is it in the image, or in PYTHONPATH?")
    found = getattr(module, attribute, None)
    if not callable(found):
        sys.exit(f"function {target}: module {name} has no callable {attribute}")
    return found  # type: ignore[no-any-return]


def main() -> None:
    """Entry point."""
    call = load(sys.argv[1])
    import torch
    import torch.distributed as dist

    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if gpu else "gloo")
    try:
        call(json.loads(os.environ["SM_HPS"]))
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
