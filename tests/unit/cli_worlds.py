"""Recorded lives of each kind, for the command line tool."""

from __future__ import annotations

from typing import Any

from recorded import Object, Recorded, ago, condition, own, pod, running, thing, waiting

from loopwright.api import names

S3 = {"uri": "s3://models/digits", "secretRef": {"name": "s3-credentials"}}
CODE: Object = {"function": "a:b", "output": S3, "hyperparameters": {"lr": "0.01", "epochs": "20"}}
ON_ITS_WAY = [
    condition("Ready", False, "Running", "training runs"),
    condition("Reconciling", True, "Running", "training runs"),
    condition("Stalled", False, "AsExpected"),
]


def job(phase: str = "Running", name: str = "digits", **status: Any) -> Object:
    """A TrainingJob."""
    conditions = status.pop("conditions", ON_ITS_WAY)
    spec = {**CODE, "hyperparameters": dict(CODE["hyperparameters"])}
    return own("TrainingJob", name, spec, {"phase": phase, "conditions": conditions, **status})


def attempt(number: int = 1, job: str = "digits", mark: str = "a", **more: Any) -> Object:
    """An attempt of a job."""
    return {"number": number, "rayJob": f"{job}-{mark}{number}", "startTime": ago(300), **more}


def cluster(kind: str, job: str, number: int, **status: Any) -> list[Object]:
    """RayJob and RayCluster of an attempt."""
    name, labels = names.rayjob_name(kind, job, number), names.child_labels(kind, job, number)
    deployment = {"jobDeploymentStatus": "Running", "rayClusterName": f"{name}-x"}
    ray = {"state": "ready", "readyWorkerReplicas": 1, "desiredWorkerReplicas": 2, **status}
    return [
        thing("RayJob", name, api="ray.io/v1", labels=labels, status=deployment),
        thing("RayCluster", f"{name}-x", api="ray.io/v1", labels=labels, owner=f"RayJob-{name}",
              status=ray),
    ]  # fmt: skip


def training() -> Recorded:
    """In its second attempt, with one of two workers ready."""
    found = job(
        attempt=2,
        attempts=[
            attempt(1, cause="Infrastructure", startTime=ago(900), endTime=ago(330), spot=True),
            attempt(2, runningTime=ago(200), resumedFrom="s3://models/digits/checkpoints/4"),
        ],
        failures={"application": 0, "infrastructure": 1},
        progress={"percent": 50, "epoch": 10, "step": 500, "totalSteps": 1000, "etaSeconds": 130},
        metrics=[{"name": "accuracy", "value": "0.9312345", "min": "0.1", "max": "0.9312345"},
                 {"name": "loss", "value": "0.0612"}],
        checkpoint={"uri": "s3://models/digits/checkpoints/9", "step": 450, "count": 2},
        lastError={"reason": "WorkerLost", "message": "pod digits-a1-w was lost", "attempt": 1,
                   "retriable": True},
        workers={"desired": 2, "ready": 1},
        cost={"gpuSeconds": 0, "cpuSeconds": 2300, "billableSeconds": 770, "estimate": "0.0831",
              "currency": "EUR", "spotSavedSeconds": 480},
    )  # fmt: skip
    owner = "RayCluster-digits-a2-x"
    return Recorded(
        found,
        *cluster("TrainingJob", "digits", 2),
        pod("digits-a2-head", "TrainingJob", "digits", attempt=2, node="head", owner=owner),
        pod("digits-a2-w0", "TrainingJob", "digits", attempt=2, owner=owner),
        pod("digits-a2-w1", "TrainingJob", "digits", attempt=2, owner=owner,
            status=waiting("ContainerCreating")),
        # Of a sweep of the same name.
        pod("digits-s1-head", "HyperparameterSweep", "digits", node="head"),
    )  # fmt: skip


def failed() -> Recorded:
    """The code has a bug."""
    text = "exit code 1: Traceback (most recent call last): ... ValueError: shapes (3,) and (4,)"
    found = job(
        "Failed",
        attempt=1,
        attempts=[attempt(cause="Application", exitCode=1, endTime=ago(100))],
        completionTime=ago(100),
        lastError={"reason": "TrainingFailed", "message": text, "attempt": 1},
        artifacts={"logsUri": "s3://models/digits/logs/attempt-1"},
        conditions=[
            condition("Ready", False, "TrainingFailed", text),
            condition("Reconciling", False, "TrainingFailed"),
            condition("Stalled", True, "TrainingFailed", text),
        ],
    )
    return Recorded(found)


def done() -> Recorded:
    """It left a version."""
    found = job(
        "Succeeded",
        attempt=1,
        attempts=[attempt(endTime=ago(60))],
        metrics=[{"name": "accuracy", "value": "0.97"}],
        modelVersion="digits-0a1b2c3d4e",
        artifacts={"modelUri": "s3://models/digits/model", "format": "onnx", "size": 123456,
                   "digest": f"sha256:{'a' * 64}", "logsUri": "s3://models/digits/logs/attempt-1"},
        conditions=[condition("Ready", True, "Completed", "it is done"),
                    condition("ModelRegistered", True, "Registered", "as digits-0a1b2c3d4e")],
    )  # fmt: skip
    return Recorded(found, version(), model())


def sweep() -> Recorded:
    """Fifteen of thirty trials have ended."""
    trials = [
        {"name": f"t{number}", "state": state, "value": value, "metrics": {"accuracy": value},
         "parameters": {"lr": lr, "width": "64"}, "seconds": 12}
        for number, state, value, lr in ((7, "Succeeded", "0.9712", "0.0031"),
                                         (3, "EarlyStopped", "0.95", "0.01"))
    ]  # fmt: skip
    status = {
        "phase": "Running", "conditions": ON_ITS_WAY, "attempt": 1,
        "attempts": [attempt(mark="s")], "algorithm": "tpe",
        "progress": {"percent": 50, "step": 15, "totalSteps": 30},
        "trials": {"total": 17, "running": 2, "succeeded": 3, "earlyStopped": 11, "failed": 1,
                   "finished": "15/30"},
        "best": trials[0], "topTrials": trials,
        "reportUri": "s3://models/digits/report.html",
    }  # fmt: skip
    parameters = [{"name": "lr", "logUniform": {"min": "0.0001", "max": "0.1"}}]
    spec = {
        "objectives": [{"metric": "accuracy", "direction": "Maximize"}],
        "parameters": parameters, "algorithm": {"tpe": {}}, "maxTrials": 30,
        "trialTemplate": {"spec": {"function": "a:b", "output": S3}},
    }  # fmt: skip
    found = own("HyperparameterSweep", "digits", spec, status)
    return Recorded(found, *cluster("HyperparameterSweep", "digits", 1))


def batch() -> Recorded:
    """Two of four shards are done, and some records are bad."""
    status = {
        "phase": "Running", "conditions": ON_ITS_WAY, "attempt": 1,
        "attempts": [attempt(mark="b")],
        "model": {"uri": "s3://models/digits/model", "format": "onnx",
                  "modelVersion": "digits-0a1b2c3d4e"},
        "progress": {"percent": 50, "recordsPerSecond": "312.4", "etaSeconds": 58},
        "records": {"read": 18000, "written": 17990, "failed": 10},
        "shards": {"total": 4, "done": 2, "resumed": 1, "finished": "2/4", "shown": [
            {"number": 2, "state": "Running", "file": "part-2.csv", "records": 800, "failed": 10}]},
        "problems": [{"reason": "WrongType", "count": 10, "message": "column x is no number",
                      "file": "part-2.csv", "line": 7}],
    }  # fmt: skip
    spec = {
        "model": {"modelRef": {"name": "digits", "alias": "production"}},
        "input": {"uri": "s3://lake/in", "format": "csv"}, "output": {"uri": "s3://lake/out"},
    }  # fmt: skip
    return Recorded(own("BatchTransform", "digits", spec, status))


def model() -> Object:
    """A Model."""
    conditions = [condition("Ready", True, "AsExpected")]
    aliases = {"production": "0a1b2c3d4e"}
    status = {"versions": 2, "latestVersion": "0a1b2c3d4e", "aliases": aliases,
              "conditions": conditions}  # fmt: skip
    return own("Model", "digits", {}, status)


def version(
    version: str = "0a1b2c3d4e", digest: str = "a", accuracy: str = "0.97", job: str = "digits",
    revision: str = "4f5e6d", **status: Any,
) -> Object:  # fmt: skip
    """A ModelVersion."""
    spec = {
        "modelRef": {"name": "digits"}, "version": version, "format": "onnx",
        "uri": f"s3://models/{job}/model", "digest": f"sha256:{digest * 64}",
        "signature": {"inputs": [{"name": "input", "dtype": "float32", "shape": [-1, 4]}],
                      "outputs": [{"name": "label", "dtype": "int64", "shape": [-1]}]},
        "metrics": [{"name": "accuracy", "value": accuracy}],
        "lineage": {
            "trainingJob": {"name": job, "uid": f"TrainingJob-{job}", "attempt": 1},
            "trainedAt": "2026-11-30T11:59:00Z", "gitRevision": revision,
            "inputs": [{"name": "train", "uri": "s3://lake/digits",
                        "digest": f"sha256:{digest * 64}"}],
        },
    }  # fmt: skip
    status = {"phase": "Registered", "aliases": ["production"], "metric": f"accuracy={accuracy}",
              "conditions": [condition("Ready", True, "AsExpected")], **status}  # fmt: skip
    return own("ModelVersion", f"digits-{version}", spec, status)


def endpoint() -> Recorded:
    """A rollout goes on, a monitor is violated, an experiment runs."""
    serving = {"revision": "abc123", "inferenceService": "digits-main-abc123", "verified": True,
               "modelVersion": "digits-0a1b2c3d4e", "uri": "s3://models/digits/model"}  # fmt: skip
    new = {**serving, "revision": "def456", "inferenceService": "digits-main-def456"}
    rollout = {"to": "def456", "from": "abc123", "step": 1, "percent": 25, "startedAt": ago(100),
               "message": "step 1 of 4 until its checks have held for 5 min",
               "failing": [{"name": "errors", "failures": 1, "message": "3 % of requests fail"}],
               }  # fmt: skip
    status = {
        "phase": "RollingOut",
        "url": "http://gateway.example/n/digits",
        "internalUrl": "http://digits.n.svc",
        "weights": "main 80 %, other 20 %",
        "rollout": "main 25 %",
        "conditions": [
            condition("Ready", False, "RollingOut", "main: step 1 of 4"),
            condition("DriftDetected", True, "DataDrift", "inputs: 2 of 4 features have drifted"),
        ],
        "variants": [
            {"name": "main", "ready": True, "replicas": 2, "desiredWeight": 80, "currentWeight": 80,
             "serving": serving, "next": new, "rollout": rollout, "reason": "RollingOut"},
            {"name": "other", "ready": False, "replicas": 0, "desiredWeight": 20,
             "currentWeight": 20, "reason": "ImagePullFailed", "message": "pod o: not found"},
        ],
        "monitors": [{"name": "inputs", "state": "Violated", "variant": "main", "samples": 500,
                      "revision": "abc123", "worst": "2.31", "features": 4, "drifted": 2}],
        "retrains": [{"monitor": "inputs", "variant": "main", "trainingJob": "digits-r1",
                      "template": "digits", "time": ago(50), "outcome": "Running"}],
        "experiment": {
            "state": "Running", "reason": "Undecided", "message": "no variant has won yet",
            "variants": [
                {"name": "main", "samples": 1000, "mean": "0.12"},
                {"name": "other", "samples": 990, "mean": "0.15", "effect": "0.03",
                 "low": "-0.01", "high": "0.07", "pValue": "0.21"},
            ],
        },
        "cost": {"replicaSeconds": 7200, "estimate": "0.4", "currency": "EUR", "until": ago(10)},
        "replicas": 2,
    }  # fmt: skip
    variants = [
        {"name": name, "weight": weight, "model": {"modelRef": {"name": "digits", "alias": "a"}}}
        for name, weight in (("main", 80), ("other", 20))
    ]
    found = own("ModelEndpoint", "digits", {"variants": variants}, status)
    labels = names.child_labels("ModelEndpoint", "digits")
    served = {"serving.kserve.io/inferenceservice": "digits-main-abc123"}
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    watcher = {names.LABEL_NAME: "digits", "app.kubernetes.io/name": names.MONITOR_ACCOUNT}
    return Recorded(
        found,
        thing("InferenceService", "digits-main-abc123", api="serving.kserve.io/v1beta1",
              labels=labels, status=ready),
        pod("digits-main-0", "ModelEndpoint", "digits", attempt=None, node="", **served),
        thing("Pod", "digits-monitor-0", labels=watcher, status=running("monitor"),
              spec={"containers": [{"name": "monitor"}]}),
        version(),
    )  # fmt: skip


WORLDS = {
    "training": (training, "tj/digits"),
    "failed": (failed, "tj/digits"),
    "done": (done, "tj/digits"),
    "sweep": (sweep, "hps/digits"),
    "batch": (batch, "bt/digits"),
    "model": (done, "mdl/digits"),
    "version": (done, "mv/digits-0a1b2c3d4e"),
    "endpoint": (endpoint, "mep/digits"),
}
