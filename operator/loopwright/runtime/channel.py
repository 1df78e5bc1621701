"""How training code talks to the driver: JSON frames over an authenticated local connection."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
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
# When it is set, a report returns only once it was decided whether to go on.
ENV_WAIT: Final = "LOOPWRIGHT_CHANNEL_WAIT"
MAX_MESSAGE: Final = 1 << 20

Message = dict[str, Any]


class Server:
    """The driver's end: calls `receive` with each message, one at a time.

    Args:
        receive: May return an event; who waits for an answer gets it when that is set.
    """

    def __init__(self, host: str, receive: Callable[[Message], threading.Event | None]) -> None:
        self._key = secrets.token_bytes(32)
        # Without the key: it would be asked for in the thread that accepts, where one client that
        # says nothing holds up all others.
        self._listener = Listener((host, 0))
        self._receive, self._lock = receive, threading.Lock()
        self._closed, self._ended = threading.Event(), threading.Condition()
        self._connections = 0
        self.env = {
            ENV_ADDRESS: f"{host}:{self._listener.address[1]}",
            ENV_KEY: self._key.hex(),
        }
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Lets nobody connect any more."""
        self._closed.set()
        # One more connection, or the thread that waits for one would wait on, and hold the socket.
        with contextlib.suppress(OSError):
            socket.create_connection(self._listener.address, timeout=1).close()
        self._accepting.join(1)
        self._listener.close()

    def drain(self, patience: float) -> None:
        """Waits until what was sent by those who are gone has been received."""
        with self._ended:
            self._ended.wait_for(lambda: self._connections == 0, patience)

    def _accept(self) -> None:
        while True:
            try:
                arguments = (self._listener.accept(),)
            except OSError:
                return
            if self._closed.is_set():
                return
            threading.Thread(target=self._serve, args=arguments, daemon=True).start()
            del arguments  # Or a connection would stay open until the next one comes.

    def _serve(self, connection: Connection) -> None:
        with self._ended:
            self._connections += 1
        try:
            self._listen(connection)
        finally:
            with self._ended:
                self._connections -= 1
                self._ended.notify_all()

    def _listen(self, connection: Connection) -> None:
        with connection:
            try:
                deliver_challenge(connection, self._key)
                answer_challenge(connection, self._key)
                while True:
                    message = json.loads(connection.recv_bytes(MAX_MESSAGE))
                    with self._lock:
                        decided = self._receive(message)
                    if isinstance(message, dict) and message.get("wait"):
                        if decided is not None:
                            decided.wait()
                        connection.send_bytes(b"on")
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
    waits = message.get("type") == "report" and ENV_WAIT in os.environ
    with _sending:
        if _connection is None:
            host, _, port = address.rpartition(":")
            _connection = Client((host, int(port)), authkey=bytes.fromhex(os.environ[ENV_KEY]))
        _connection.send_bytes(json.dumps({**message, "wait": True} if waits else message).encode())
        if waits:
            _connection.recv_bytes(MAX_MESSAGE)
