"""Variables and words of the training code's processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from loopwright.api import names
from loopwright.api.runconfig import RunConfig
from loopwright.runtime.environment import (
    Place,
    checkpoint_secret,
    command,
    environment,
    logs_folder,
    output_folder,
    variable,
)
from loopwright.runtime.prestop import WORK

SCRIPT = {"script": {"inline": "print()"}}


def config(**spec: Any) -> RunConfig:
    """The configuration of a job with this spec."""
    return RunConfig.model_validate(
        {
            "name": "digits",
            "namespace": "team",
            "uid": "u-1",
            "image": "runtime:1",
            "outputUri": "s3://models/digits",
            "checkpointUri": "s3://models/digits/checkpoints",
            "spec": spec if {"script", "function", "command"} & set(spec) else {**SCRIPT, **spec},
        }
    )


def variables(place: Place | None = None, **spec: Any) -> dict[str, str]:
    """The environment of a process of such a job."""
    inputs = {one["name"]: Path("/in") / one["name"] for one in spec.get("inputs", [])}
    return environment(config(**spec), place or Place(0, 1, 0, 1, "10.0.0.1", 29500), inputs)


def source(name: str, **more: Any) -> dict[str, Any]:
    """An input."""
    return {"name": name, "source": {"uri": f"s3://data/{name}"}, **more}


def test_torchrun_variables() -> None:
    found = variables(Place(2, 3, 1, 4, "10.0.0.1", 29500))
    expected = {
        "RANK": "9", "LOCAL_RANK": "1", "GROUP_RANK": "2", "NODE_RANK": "2",
        "WORLD_SIZE": "12", "LOCAL_WORLD_SIZE": "4",
        "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "u-1",
    }  # fmt: skip
    assert {key: found[key] for key in expected} == expected


def test_each_process_has_another_rank() -> None:
    ranks = [
        int(variables(Place(node, 3, local, 4, "m", 1))["RANK"])
        for node in range(3)
        for local in range(4)
    ]
    assert ranks == list(range(12))


def test_sagemaker_variables() -> None:
    found = variables(
        Place(1, 2, 0, 1, "m", 1),
        inputs=[source("train-set"), source("eval")],
        resourcesPerWorker={"gpu": 2},
        hyperparameters={"lr": "0.1"},
    )
    assert json.loads(found["SM_HOSTS"]) == ["algo-1", "algo-2"]
    assert found["SM_CURRENT_HOST"] == "algo-2"
    assert json.loads(found["SM_CHANNELS"]) == ["eval", "train-set"]
    assert found["SM_CHANNEL_TRAIN_SET"] == "/in/train-set"
    assert found["SM_CHANNEL_EVAL"] == "/in/eval"
    assert found["SM_NUM_GPUS"] == "2"
    assert found["SM_MODEL_DIR"] == str(WORK / "model")
    assert found["SM_INPUT_CONFIG_DIR"] == str(WORK / "config")
    assert found["SM_OUTPUT_DATA_DIR"] == str(WORK / "output")


def test_an_input_may_name_its_variable() -> None:
    found = variables(inputs=[source("train", env="DATA_DIR"), source("eval")])
    assert found["DATA_DIR"] == "/in/train"


@pytest.mark.parametrize("style", ["Env", "Args", "File"])
def test_hyperparameters_are_in_sm_hps_in_any_style(style: str) -> None:
    values = {"learning-rate": "0.1", "n": "3"}
    found = variables(hyperparameters=values, hyperparameterStyle=style)
    assert json.loads(found["SM_HPS"]) == values
    own = {key: value for key, value in found.items() if key.startswith("SM_HP_")}
    assert own == ({"SM_HP_LEARNING_RATE": "0.1", "SM_HP_N": "3"} if style == "Env" else {})


@pytest.mark.parametrize(
    ("name", "expected"),
    [("train", "TRAIN"), ("a-b.c", "A_B_C"), ("Lr2", "LR2"), ("a b=c", "A_B_C")],
)
def test_names_become_parts_of_variables(name: str, expected: str) -> None:
    assert variable(name) == expected


def test_checkpoint_variables() -> None:
    found = variables()
    assert found["LOOPWRIGHT_JOB"] == "u-1"
    assert found["LOOPWRIGHT_CHECKPOINTS"] == "s3://models/digits/checkpoints"
    assert "LOOPWRIGHT_CHECKPOINT_SECRET" not in found
    assert "LOOPWRIGHT_CHECKPOINT_KEEP" not in found
    found = variables(
        checkpoint={"keep": 5, "intervalHintSeconds": 60, "secretRef": {"name": "s3"}}
    )
    expected = {"KEEP": "5", "INTERVAL": "60", "SECRET": "s3"}
    assert {key: found[f"LOOPWRIGHT_CHECKPOINT_{key}"] for key in expected} == expected


def test_checkpoints_use_the_outputs_secret_unless_they_have_their_own() -> None:
    output = {"output": {"uri": "s3://b/p", "secretRef": {"name": "out"}}}
    own = {"checkpoint": {"secretRef": {"name": "own"}}}
    assert checkpoint_secret(config()) is None
    assert checkpoint_secret(config(**output)) == "out"
    assert checkpoint_secret(config(**output, checkpoint={})) == "out"
    assert checkpoint_secret(config(**output, **own)) == "own"


def test_results_and_logs_go_below_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    job = config().model_copy(update={"output_uri": "pvc://models/digits"})
    assert output_folder(job).uri == "pvc://models/digits"
    assert output_folder(job, "model").uri == "pvc://models/digits/model"
    monkeypatch.setenv(names.ENV_ATTEMPT, "3")
    assert logs_folder(job).uri == "pvc://models/digits/logs/attempt-3"


def test_all_values_are_text() -> None:
    found = variables(inputs=[source("a", env="A")], checkpoint={}, hyperparameters={"n": "1"})
    assert {type(value) for value in found.values()} == {str}


def test_the_words_of_a_script() -> None:
    words = command(config(args=["--epochs", "3 $HOME"]), Path("/code/train.py"))
    assert words == [sys.executable, "-u", "/code/train.py", "--epochs", "3 $HOME"]


def test_the_words_of_a_command() -> None:
    job = config(command=["python3", "-m", "tool"], args=["x"])
    assert command(job, None) == ["python3", "-m", "tool", "x"]
    assert command(job, None) == ["python3", "-m", "tool", "x"]


def test_hyperparameters_as_arguments_come_last() -> None:
    values = {"lr": "0.1", "name": "a b"}
    job = config(command=["tool"], args=["x"], hyperparameters=values, hyperparameterStyle="Args")
    assert command(job, None) == ["tool", "x", "--lr=0.1", "--name=a b"]


@pytest.mark.parametrize("style", ["Env", "File"])
def test_in_other_styles_they_are_no_arguments(style: str) -> None:
    job = config(command=["tool"], hyperparameters={"lr": "0.1"}, hyperparameterStyle=style)
    assert command(job, None) == ["tool"]


def test_the_words_of_a_function() -> None:
    job = config(function="pkg.mod:train", hyperparameters={"lr": "1"}, hyperparameterStyle="Args")
    words = [sys.executable, "-u", "-m", "loopwright.runtime.function", "pkg.mod:train"]
    assert command(job, None) == words
