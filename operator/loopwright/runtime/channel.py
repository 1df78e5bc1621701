"""How training code talks to the driver: JSON frames over an authenticated local connection."""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Callable
from multiprocessing import AuthenticationError
from multiprocessing.connection import (
    Client,
    Connection,
    Listener,
    answer_challenge,
    deliver_challenge,
)
from typing import Any, Final

ENV_ADDRESS: Final = "LOOPWRIGHT_CHANNEL"
ENV_KEY: Final = "LOOPWRIGHT_CHANNEL_KEY"
MAX_MESSAGE: Final = 1 << 20

Message = dict[str, Any]


class Server:
    """The driver's end: calls `receive` with each message, one at a time."""

    def __init__(self, host: str, receive: Callable[[Message], None]) -> None:
        self._key = secrets.token_bytes(32)
        # Without the key: it would be asked for in the thread that accepts, where one client that
        # says nothing holds up all others.
        self._listener = Listener((host, 0))
        self._receive, self._lock = receive, threading.Lock()
        self.env = {
            ENV_ADDRESS: f"{host}:{self._listener.address[1]}",
            ENV_KEY: self._key.hex(),
        }
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                arguments = (self._listener.accept(),)
            except OSError:
                return
            threading.Thread(target=self._serve, args=arguments, daemon=True).start()
            del arguments  # Or a connection would stay open until the next one comes.

    def _serve(self, connection: Connection) -> None:
        with connection:
            try:
                deliver_challenge(connection, self._key)
                answer_challenge(connection, self._key)
                while True:
                    message = json.loads(connection.recv_bytes(MAX_MESSAGE))
                    with self._lock:
                        self._receive(message)
            except (AuthenticationError, EOFError, OSError, ValueError):
                return  # Somebody without the key, or who speaks another language, or who is gone.


_connection: Any = None
# Training code may report from several threads.
_sending = threading.Lock()


def send(message: Message) -> None:
    """Sends a message from training code; outside a job it is printed instead."""
    global _connection
    address = os.environ.get(ENV_ADDRESS)
    if address is None:
        print(json.dumps(message), flush=True)
        return
    with _sending:
        if _connection is None:
            host, _, port = address.rpartition(":")
            _connection = Client((host, int(port)), authkey=bytes.fromhex(os.environ[ENV_KEY]))
        _connection.send_bytes(json.dumps(message).encode())
