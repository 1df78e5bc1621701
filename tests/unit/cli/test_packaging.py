"""The tool as it is installed, documented and kept out of images."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cli_runs import run
from cli_worlds import WORLDS, training
from recorded import Recorded
from typer.main import get_command
from typer.testing import CliRunner

from loopwright import __version__
from loopwright.cli.app import app, main

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs" / "guides" / "cli.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMMANDS = get_command(app).commands
SHELL = "\n".join(re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL))
SHOWN = [line for line in SHELL.splitlines() if re.match(r"(kubectl )?loopwright ", line)]


def test_both_names_are_the_same_program() -> None:
    assert set(PROJECT["project"]["scripts"]) == {"loopwright", "kubectl-loopwright"}
    assert set(PROJECT["project"]["scripts"].values()) == {"loopwright.cli.app:main"}
    assert callable(main)


def test_the_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"{__version__}\n"


@pytest.mark.parametrize("line", SHOWN)
def test_commands_of_the_guide_are_understood(line: str) -> None:
    words = shlex.split(line.removeprefix("kubectl "))[1:]
    if words == ["--version"]:
        return
    # 2 is what a command line ends with that makes no sense.
    assert run(Recorded(), *words).exit_code in (0, 1)


def test_the_guide_has_every_command() -> None:
    assert {line.split("loopwright ")[1].split()[0] for line in SHOWN} - {"--version"} == set(
        COMMANDS
    )


def test_options_of_the_guide_exist() -> None:
    options = {text for one in COMMANDS.values() for param in one.params for text in param.opts}
    told = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", GUIDE))
    assert told - options == {"--version", "--install-completion"}
    shared = {"--namespace", "--context", "--kubeconfig"}
    for one in COMMANDS.values():
        assert shared <= {text for param in one.params for text in param.opts}


def test_every_option_and_command_has_its_help() -> None:
    for one in COMMANDS.values():
        assert one.help
        shown = CliRunner(env={"COLUMNS": "80"}).invoke(app, [one.name, "--help"])
        assert max(map(len, shown.stdout.splitlines())) <= 80


def test_trees_of_the_guide_are_what_is_printed() -> None:
    world, ref = WORLDS["training"]
    shown = run(world(), "status", ref).stdout
    blocks = re.findall(r"^```text\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert [line.rstrip() for line in shown.splitlines()] == blocks[0].splitlines()


def test_names_complete_in_a_shell() -> None:
    from loopwright.cli.app import names

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loopwright.cli.app.load", lambda *_: training())
        assert names("di") == ["digits"]
        assert names("tj/") == ["tj/digits"]
        assert names("tj/x") == []
        assert names("nonsense/") == []


@pytest.mark.parametrize("image", ["operator", "runtime", "serving"])
def test_no_image_has_it(image: str) -> None:
    text = (ROOT / "images" / image / "Dockerfile").read_text()
    # The model server's names what stays.
    kept = re.findall(r"! -name (\S+)", text)
    assert ("cli" not in kept) if kept else re.search(r"rm -rf cli ", text)
    lock = (ROOT / "requirements" / f"{image}.lock").read_text()
    assert not re.search(r"^typer==", lock, re.MULTILINE)


def test_it_starts_without_what_other_parts_need() -> None:
    code = (
        "import sys, loopwright.cli.app;"
        " print(sorted({n.split('.')[1] for n in sys.modules if n.startswith('loopwright.')}));"
        " print(sorted({'kopf', 'numpy', 'aiohttp', 'pyarrow'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": str(ROOT / "operator")})  # fmt: skip
    assert done.stdout == "['api', 'cli', 'view']\n[]\n"
