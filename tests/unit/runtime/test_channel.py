"""The channel: in order, one at a time, and only for those who have the key."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Client
from typing import Any

import pytest

from loopwright.runtime import channel
from loopwright.runtime.channel import ENV_ADDRESS, ENV_KEY, Server

pytestmark = pytest.mark.timeout(30)

SOON = 10.0


class Driver:
    """A server, and what it got."""

    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.server = Server("127.0.0.1", self.messages.put)
        host, _, port = self.server.env[ENV_ADDRESS].rpartition(":")
        self.address = (host, int(port))

    def next(self, timeout: float = SOON) -> Any:
        """The next message; fails when there is none soon."""
        return self.messages.get(timeout=timeout)

    def connect(self) -> Any:
        """A connection of one who has the key."""
        return Client(self.address, authkey=bytes.fromhex(self.server.env[ENV_KEY]))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    """A driver that this process's environment points to."""
    made = Driver()
    for key, value in made.server.env.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(channel, "_connection", None)
    yield made
    if channel._connection is not None:
        channel._connection.close()


def test_messages_arrive_as_sent(driver: Driver) -> None:
    message = {"type": "report", "metrics": {"loss": 0.25}, "step": None, "text": "\N{SNOWMAN}"}
    channel.send(message)
    assert driver.next() == message


def test_messages_arrive_in_order(driver: Driver) -> None:
    for number in range(200):
        channel.send({"number": number})
    assert [driver.next()["number"] for _ in range(200)] == list(range(200))


def test_a_child_process_finds_the_driver(driver: Driver) -> None:
    code = "from loopwright.runtime import channel; channel.send({'from': 'child'})"
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path = {sys.path!r}; {code}"], check=True
    )
    assert driver.next() == {"from": "child"}


def test_many_may_talk_but_one_is_heard_at_a_time() -> None:
    inside, most, got = [0], [0], queue.SimpleQueue[Any]()
    pause = threading.Event()

    def receive(message: Any) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        pause.wait(0.001)
        inside[0] -= 1
        got.put(message)

    server = Server("127.0.0.1", receive)
    host, _, port = server.env[ENV_ADDRESS].rpartition(":")
    key = bytes.fromhex(server.env[ENV_KEY])
    connections = [Client((host, int(port)), authkey=key) for _ in range(4)]
    for number in range(20):
        connections[number % 4].send_bytes(json.dumps(number).encode())
    assert sorted(got.get(timeout=SOON) for _ in range(20)) == list(range(20))
    assert most == [1]
    for connection in connections:
        connection.close()


def test_keys_differ_and_are_long() -> None:
    first, second = Driver().server.env[ENV_KEY], Driver().server.env[ENV_KEY]
    assert first != second
    assert len(bytes.fromhex(first)) == 32


def test_without_the_key_nothing_gets_in(driver: Driver) -> None:
    with pytest.raises(multiprocessing.AuthenticationError):
        Client(driver.address, authkey=b"guess")
    channel.send({"from": "us"})
    assert driver.next() == {"from": "us"}
    assert driver.messages.empty()


def test_who_does_not_authenticate_gets_no_frame_through(driver: Driver) -> None:
    frame = json.dumps({"from": "stranger"}).encode()
    with socket.create_connection(driver.address, timeout=SOON) as stranger:
        talk(stranger, len(frame).to_bytes(4, "big") + frame)
    channel.send({"from": "us"})
    assert driver.next() == {"from": "us"}
    assert driver.messages.empty()


def test_who_hangs_up_at_once_does_no_harm(driver: Driver) -> None:
    socket.create_connection(driver.address, timeout=SOON).close()
    channel.send({"from": "us"})
    assert driver.next() == {"from": "us"}


def test_another_protocol_does_no_harm(driver: Driver) -> None:
    """A scanner, or a health check that took the wrong port."""
    with socket.create_connection(driver.address, timeout=SOON) as scanner:
        talk(scanner, b"GET / HTTP/1.1\r\nHost: ray\r\n\r\n")
    assert sends_soon(driver)


def test_who_says_nothing_blocks_nobody(driver: Driver) -> None:
    with socket.create_connection(driver.address, timeout=SOON):
        assert sends_soon(driver)


def talk(stranger: socket.socket, content: bytes) -> None:
    """Sends this, and listens until the driver hangs up."""
    with contextlib.suppress(OSError):
        stranger.sendall(content)
        stranger.shutdown(socket.SHUT_WR)
        while stranger.recv(1024):
            pass


def sends_soon(driver: Driver) -> bool:
    """Whether one with the key gets a message through."""

    def send() -> None:
        # A failure is told by the message that is missing.
        with contextlib.suppress(OSError, EOFError), driver.connect() as connection:
            connection.send_bytes(b'{"from": "us"}')

    threading.Thread(target=send, daemon=True).start()
    try:
        return bool(driver.next(0.5) == {"from": "us"})
    except queue.Empty:
        return False


def test_a_frame_that_is_no_json_does_no_harm_to_others(driver: Driver) -> None:
    with driver.connect() as broken:
        broken.send_bytes(b"not json")
        channel.send({"from": "us"})
        assert driver.next() == {"from": "us"}


def test_who_is_no_longer_heard_is_told(driver: Driver) -> None:
    """Otherwise it goes on sending until the buffers are full, and then waits forever."""
    with driver.connect() as broken:
        broken.send_bytes(b"not json")
        assert broken.poll(0.3)
        with pytest.raises((EOFError, OSError)):
            broken.recv_bytes()


def test_outside_a_job_messages_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(ENV_ADDRESS, raising=False)
    channel.send({"type": "report", "step": 1})
    assert json.loads(capsys.readouterr().out) == {"type": "report", "step": 1}


def test_a_report_may_wait_until_it_was_decided_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    decided, got = threading.Event(), queue.SimpleQueue[Any]()

    def receive(message: Any) -> threading.Event:
        got.put(message)
        return decided

    server = Server("127.0.0.1", receive)
    code = "from loopwright.runtime import channel; channel.send({'type': 'report'})"
    words = [sys.executable, "-c", f"import sys; sys.path = {sys.path!r}; {code}"]
    env = {**server.env, channel.ENV_WAIT: "1"}
    process = subprocess.Popen(words, env=env)
    assert got.get(timeout=SOON) == {"type": "report", "wait": True}
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    decided.set()
    assert process.wait(SOON) == 0


def test_what_was_sent_by_those_who_are_gone_is_waited_for() -> None:
    got: list[Any] = []
    slow = threading.Event()

    def receive(message: Any) -> None:
        slow.wait(0.05)
        got.append(message)

    server = Server("127.0.0.1", receive)
    host, _, port = server.env[ENV_ADDRESS].rpartition(":")
    with Client((host, int(port)), authkey=bytes.fromhex(server.env[ENV_KEY])) as client:
        for number in range(5):
            client.send_bytes(json.dumps({"number": number}).encode())
    server.drain(SOON)
    assert len(got) == 5


def test_a_closed_server_lets_nobody_in(driver: Driver) -> None:
    driver.server.close()
    with pytest.raises(OSError):
        socket.create_connection(driver.address, timeout=SOON)
