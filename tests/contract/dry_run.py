"""Manifests as the API server judges them, by its schemas and its admission; nothing is stored.

It knows more than JSON schemas do: defaults, CEL rules, immutable fields, duplicate keys of lists,
and the real CRDs of other projects.
"""

from __future__ import annotations

import json
from typing import Any

from kubectl import Kubectl

WORDS = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict")


def spaces(api: Kubectl, *names: str) -> None:
    """Namespaces that are there afterwards: even a dry run needs them."""
    for name in names:
        head = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        api.apply(text=json.dumps(head))


def dry_run(api: Kubectl, *words: str, text: str | None = None) -> int:
    """How many objects the API server takes.

    Args:
        text: Manifests, instead of those that the words name.

    Raises:
        KubectlError: it refuses one, or a field is unknown.
    """
    given: dict[str, Any] = {} if text is None else {"stdin": text}
    more = () if text is None else ("-f", "-")
    return len(api.run(*WORDS, *words, *more, **given).splitlines())
