"""The console on a real API server, for people with different rights."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp.test_utils import TestClient, TestServer
from kubectl import Kubectl

from granted import granted
from loopwright.api import names
from loopwright.console.app import Console
from loopwright.console.settings import ConsoleSettings

SPACE = "console"
LOOK = "system:serviceaccount:console:ada"
JOB: dict[str, Any] = {
    "apiVersion": names.API_VERSION, "kind": "TrainingJob",
    "spec": {"function": "a:b", "output": {"uri": "s3://models/x"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def space(api: Kubectl) -> Iterator[str]:
    """A namespace with three jobs, and ada, who may look, and bob, who may not."""
    api.run("create", "namespace", SPACE)
    for name, phase in (("runs", "Running"), ("fails", "Failed"), ("waits", "Queued")):
        api.apply(text=json.dumps({**JOB, "metadata": {"name": name}}), namespace=SPACE)
        patch = json.dumps({"status": {"phase": phase, "conditions": []}})
        words = ["patch", "trainingjob", name, "-n", SPACE, "--subresource=status", "--type=merge"]
        api.run(*words, "-p", patch)
    for name in ("ada", "bob"):
        api.run("create", "serviceaccount", name, "-n", SPACE)
    role = ["--clusterrole=loopwright-view", f"--serviceaccount={SPACE}:ada"]
    api.run("create", "rolebinding", "look", "-n", SPACE, *role)
    granted(api, LOOK, "list", "trainingjobs.loopwright.io", SPACE)
    # All kinds are served by now; of one that has just come the API server may say to ask again.
    api.run("get", "ml", "-n", SPACE)
    yield SPACE
    # Nobody empties namespaces here, and an operator of all would try for ever to start them.
    api.run("delete", "trainingjobs", "--all", "-n", SPACE)


@pytest.fixture
def console(api: Kubectl, tmp_path: Path) -> Console:
    """A console that has nothing but the API server's address and certificate."""
    cluster = yaml.safe_load(api.kubeconfig.read_text())["clusters"][0]["cluster"]
    ca = tmp_path / "ca.crt"
    if "certificate-authority" in cluster:
        ca.write_bytes(Path(cluster["certificate-authority"]).read_bytes())
    else:
        ca.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
    settings = ConsoleSettings(server=cluster["server"], ca_file=str(ca), namespaces=(SPACE,))
    return Console(settings)


@pytest.fixture
def token(api: Kubectl, space: str) -> Callable[[str], str]:
    """A token of somebody."""
    return lambda name: api.run("create", "token", name, "-n", space).strip()


def bearer(token: str) -> dict[str, str]:
    """What signs somebody in."""
    return {"Authorization": f"Bearer {token}"}


async def shown(client: TestClient[Any, Any], path: str, token: str, status: int = 200) -> str:
    """A page, as somebody sees it."""
    answer = await client.get(path, headers=bearer(token))
    text = await answer.text()
    assert answer.status == status, text
    return text


async def test_everybody_sees_what_they_may(console: Console, token: Callable[[str], str]) -> None:
    ada, bob = token("ada"), token("bob")
    async with TestClient(TestServer(console.app())) as client:
        text = await shown(client, f"/?namespace={SPACE}", ada)
        assert LOOK in text
        for name in ("runs", "fails", "waits"):
            assert f"/{SPACE}/trainingjobs/{name}" in text
        # The API server filters by phase.
        failed = await shown(client, f"/trainingjobs?namespace={SPACE}&phase=Failed", ada)
        assert "/fails" in failed
        assert "/runs" not in failed
        one = await shown(client, f"/{SPACE}/trainingjobs/runs", ada)
        assert "not shown, for lack of rights: rayjobs" in one
        assert "may not read" in await shown(client, "/trainingjobs", ada)

        for path in (
            f"/?namespace={SPACE}",
            f"/{SPACE}/trainingjobs/runs",
            "/lineage?namespace=console",
        ):
            text = await shown(client, path, bob)
            assert "system:serviceaccount:console:bob may not read" in text
            assert "--serviceaccount=console:bob --clusterrole=loopwright-view" in text
            assert f'/{SPACE}/trainingjobs/runs"' not in text


async def test_tokens_that_are_wrong_or_of_nobody_any_more(
    console: Console, api: Kubectl, token: Callable[[str], str]
) -> None:
    headers = {"Sec-Fetch-Site": "same-origin"}
    api.run("create", "serviceaccount", "gone", "-n", SPACE)
    gone = token("gone")
    api.run("delete", "serviceaccount", "gone", "-n", SPACE)
    async with TestClient(TestServer(console.app())) as client:
        # The API server learns a little later that the account is gone.
        async with asyncio.timeout(300):
            while (await client.get("/", headers=bearer(gone))).status != 401:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
        for wrong in ("wrong", gone, f"{token('ada')}x"):
            await shown(client, "/", wrong, 401)
            answer = await client.post("/sign-in", data={"token": wrong}, headers=headers)
            assert answer.status == 401
            assert "does not accept this token" in await answer.text()
        assert not list(client.session.cookie_jar)
        good = {"token": token("ada"), "next": f"/{SPACE}/trainingjobs/fails"}
        answer = await client.post("/sign-in", data=good, headers=headers)
        assert answer.status == 200
        assert str(answer.url.path) == f"/{SPACE}/trainingjobs/fails"
        assert "Failed" in await answer.text()
