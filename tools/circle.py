"""The steps of the demo once there is a cluster: train, serve, tune, and run over many rows."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import httpx
import yaml
from follow import follow
from install import LOCAL_RUNTIME
from kubectl import ROOT, Kubectl, KubectlError
from sklearn.datasets import load_digits

TRAINING = ROOT / "examples" / "trainingjob-digits.yaml"
ENDPOINT = ROOT / "examples" / "modelendpoint-digits.yaml"
SWEEP = ROOT / "examples" / "sweep-digits-asha.yaml"
REQUEST = Path(tempfile.gettempdir()) / "loopwright-digit.json"
NAMESPACE = "default"
SHADES = " .:-=+*#@"
PVC_DIR = "/mnt/loopwright/pvc"

# Each digit twenty times.
ROWS = f"""
import numpy as np, pathlib, pyarrow as pa, pyarrow.parquet as pq
from sklearn.datasets import load_digits
digits = load_digits()
images = np.tile((digits.images[:, None] / 16).astype(np.float32), (20, 1, 1, 1))
table = pa.table({{
    "id": np.arange(len(images)), "label": np.tile(digits.target, 20), "image": images.tolist()
}})
folder = pathlib.Path("{PVC_DIR}/results/digit-rows")
folder.mkdir(exist_ok=True)
pq.write_table(table, folder / "rows.parquet")
"""
BATCH = """\
apiVersion: loopwright.io/v1alpha1
kind: BatchTransform
metadata: {{name: digits}}
spec:
  model: {{modelVersionRef: {{name: {version}}}}}
  input: {{uri: "pvc://results/digit-rows", format: parquet}}
  output: {{uri: "pvc://results/digit-scores", overwrite: Replace}}
  dataProcessing: {{joinSource: Input, outputFilter: "$['id', 'label', 'logits']"}}
  numWorkers: 0
"""


def apply_afresh(kubectl: Kubectl, example: Path, kind: str) -> str:
    """Applies an example whose job may have run before; returns the job's name."""
    found = yaml.safe_load_all(example.read_text())
    name = str(next(one for one in found if one["kind"] == kind)["metadata"]["name"])
    # A finished job is immutable history; a second demo begins anew.
    kubectl.run("delete", kind, name, "-n", NAMESPACE, "--ignore-not-found")
    kubectl.apply(example, namespace=NAMESPACE)
    return name


def ended_well(kind: str, name: str, status: dict[str, Any]) -> dict[str, Any]:
    """The status.

    Raises:
        KubectlError: the job has not succeeded.
    """
    if status["phase"] != "Succeeded":
        why = (status.get("lastError") or {}).get("message", "")
        raise KubectlError(f"{kind} {name} ended as {status['phase']}: {why}")
    return status


def train(kubectl: Kubectl) -> dict[str, Any]:
    """Trains and registers a network, and shows what came of it."""
    name = apply_afresh(kubectl, TRAINING, "TrainingJob")
    status = ended_well("TrainingJob", name, follow(kubectl, name, NAMESPACE))
    artifacts = status.get("artifacts", {})
    print()
    for metric in status.get("metrics", []):
        print(f"  {metric['name']:<16}{metric['value']}")
    print(f"  {'model directory':<16}{artifacts.get('modelUri', '-')}")
    print(f"  {'digest':<16}{artifacts.get('digest', '-')}\n")
    print(kubectl.run("get", "ml", "-A"))
    print(f"Look around: {kubectl.program} --kubeconfig {kubectl.kubeconfig} describe tj")
    return status


def serve(kubectl: Kubectl) -> str | None:
    """Serves the model; returns the endpoint's address, or None without KServe."""
    if kubectl.get("crd", "inferenceservices.serving.kserve.io", NAMESPACE) is None:
        print("  this cluster has no KServe; cluster/README.md says how to install it")
        return None
    kubectl.apply(ENDPOINT, namespace=NAMESPACE)
    words = ["--for=condition=Ready", "modelendpoint/digits", "-n", NAMESPACE, "--timeout=300s"]
    kubectl.run("wait", *words)
    print(kubectl.run("get", "modelendpoint", "digits", "-n", NAMESPACE))
    return str((kubectl.get("modelendpoint", "digits", NAMESPACE) or {})["status"]["url"])


def predict(url: str) -> None:
    """Asks for one digit through the gateway, and says how to do that by hand."""
    digits = load_digits()
    image = digits.images[-1]
    rows = ["".join(2 * SHADES[int(pixel / 2)] for pixel in row) for row in image]
    REQUEST.write_text(json.dumps({"instances": [[(image / 16).tolist()]]}))
    path = f"{url}/v1/models/digits:predict"
    answer = httpx.post(
        path, content=REQUEST.read_bytes(), headers={"Content-Type": "application/json"},
        trust_env=False, timeout=30,
    )  # fmt: skip
    answer.raise_for_status()
    [scores] = answer.json()["predictions"]
    print("\n".join(f"    {row}" for row in rows))
    print(f"  the model reads {scores.index(max(scores))}; it is {digits.target[-1]}\n")
    print(f"  curl -s {path} \\\n    -H 'Content-Type: application/json' -d @{REQUEST}\n")


def tune(kubectl: Kubectl) -> str:
    """Searches better hyperparameters; returns the ModelVersion of the best trial."""
    kind = "HyperparameterSweep"
    name = apply_afresh(kubectl, SWEEP, kind)
    followed = follow(kubectl, name, NAMESPACE, kind=kind, timeout=1800)
    status = ended_well(kind, name, followed)
    best, trials = status["best"], status["trials"]
    given = ", ".join(f"{key} {value}" for key, value in sorted(best["parameters"].items()))
    print(f"\n  {trials['total']} trials, {trials.get('earlyStopped', 0)} of them stopped early")
    print(f"  {'best':<16}{best['name']}: accuracy {best['metrics']['accuracy']}")
    print(f"  {'with':<16}{given}")
    print(f"  {'model version':<16}{status.get('modelVersion', '-')}")
    print(f"  {'report':<16}{here(kubectl, status['reportUri'])}")
    if "modelVersion" not in status:
        raise KubectlError(f"{kind} {name}: its best network is not good enough to be registered")
    return str(status["modelVersion"])


def batch(kubectl: Kubectl, version: str) -> None:
    """Runs a registered model over many rows."""
    _rows(kubectl)
    kind, name, text = "BatchTransform", "digits", BATCH.format(version=version)
    print("\n".join(f"    {row}" for row in text.splitlines()))
    kubectl.run("delete", kind, name, "-n", NAMESPACE, "--ignore-not-found")
    kubectl.apply(text=text, namespace=NAMESPACE)
    status = ended_well(kind, name, follow(kubectl, name, NAMESPACE, kind=kind))
    rate = (status.get("progress") or {}).get("recordsPerSecond", "-")
    print(f"\n  {'rows':<16}{status['records']['written']}, {rate} a second at work")
    print(f"  {'output':<16}{here(kubectl, status['outputs']['uri'])}")
    print(f"  {'manifest':<16}{here(kubectl, status['outputs']['manifestUri'])}\n")
    print(kubectl.run("get", "ml", "-n", NAMESPACE))


def _rows(kubectl: Kubectl) -> None:
    """Writes what is to be predicted to the claim, as some pipeline would."""
    name = "digit-rows"
    claim = {"name": "results", "persistentVolumeClaim": {"claimName": "results"}}
    container = {
        "name": "rows", "image": LOCAL_RUNTIME, "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", ROWS],
        "volumeMounts": [{"name": "results", "mountPath": f"{PVC_DIR}/results"}],
    }  # fmt: skip
    spec = {
        "restartPolicy": "Never", "containers": [container], "volumes": [claim],
        "securityContext": {"runAsUser": 1000, "fsGroup": 1000},
    }  # fmt: skip
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    where = ["-n", NAMESPACE]
    kubectl.run("delete", "pod", name, *where, "--ignore-not-found")
    kubectl.apply(text=yaml.safe_dump(pod), namespace=NAMESPACE)
    done = "--for=jsonpath={.status.phase}=Succeeded"
    kubectl.run("wait", done, f"pod/{name}", *where, "--timeout=180s")
    kubectl.run("delete", "pod", name, *where)


def here(kubectl: Kubectl, uri: str) -> str:
    """Where a URI's file lies on this machine, if it does: claims of the embedded cluster do."""
    claim, _, path = uri.removeprefix("pvc://").partition("/")
    found = kubectl.get("pvc", claim, NAMESPACE) if uri.startswith("pvc://") else None
    volume = (found or {}).get("spec", {}).get("volumeName")
    if volume is None:
        return uri
    spec = json.loads(kubectl.run("get", "pv", volume, "-o", "json"))["spec"]
    folder = (spec.get("hostPath") or spec.get("local") or {}).get("path", "")
    file = Path(folder) / path
    return str(file) if folder and file.exists() else uri
