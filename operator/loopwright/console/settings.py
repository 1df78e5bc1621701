"""The console's settings, read once from LOOPWRIGHT_CONSOLE_* variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "LOOPWRIGHT_CONSOLE_"
# Of which every namespace has a copy, so that no token has to be mounted to get it.
CA: Final = "/etc/loopwright/ca/ca.crt"


class SettingsError(ValueError):
    """A variable that cannot be understood; the message names it."""


@dataclass(frozen=True)
class ConsoleSettings:
    """Each field is set by the variable LOOPWRIGHT_CONSOLE_<FIELD> in upper case."""

    server: str = ""
    """URL of the API server. By default the one that pods are told of."""
    ca_file: str = CA
    """Certificates that the API server's is checked by; empty means the system's."""
    port: int = 8080
    """Where pages are served."""
    namespaces: tuple[str, ...] = ()
    """Namespaces to offer to people who may not list them."""
    session_seconds: int = 8 * 3600
    """How long a browser keeps a token that was pasted."""
    refresh_seconds: int = 15
    """After which pages of what goes on load again; 0 means never."""
    secure_cookies: bool = False
    """Whether cookies are for HTTPS only even when no proxy says that it speaks HTTPS."""
    workers: int = 8
    """Pages that are made at the same time."""
    log_level: str = "INFO"
    """Least level of log lines."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> ConsoleSettings:
        """Settings from the environment.

        Raises:
            SettingsError: a value has the wrong type, or there is no API server.
        """
        given = {
            name: _convert(f"{PREFIX}{name.upper()}", text, getattr(cls, name))
            for name in cls.__dataclass_fields__
            if (text := env.get(f"{PREFIX}{name.upper()}")) is not None
        }
        if not given.get("server"):
            host, port = env.get("KUBERNETES_SERVICE_HOST"), env.get("KUBERNETES_SERVICE_PORT")
            if not host:
                raise SettingsError(f"set {PREFIX}SERVER to the URL of the API server")
            given["server"] = f"https://{f'[{host}]' if ':' in host else host}:{port or 443}"
        return cls(**given)  # type: ignore[arg-type]


def _convert(name: str, text: str, default: object) -> object:
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, tuple):
            return tuple(part.strip() for part in text.split(",") if part.strip())
        return int(text) if isinstance(default, int) else text
    except (ValueError, KeyError) as error:
        raise SettingsError(f"{name} must be a {type(default).__name__}, not {text!r}") from error
