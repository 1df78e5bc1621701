"""Waiting for rights, which the API server notices a little after they are given."""

from __future__ import annotations

from kubectl import Kubectl

from eventually import eventually


def granted(api: Kubectl, user: str, verb: str, resource: str, namespace: str, *more: str) -> None:
    """Waits until somebody may do something."""
    words = ["auth", "can-i", verb, resource, f"--as={user}", "-n", namespace, *more]
    eventually(
        f"the right of {user} to {verb} {resource}",
        lambda: api.run(*words, check=False).strip() == "yes",
    )
