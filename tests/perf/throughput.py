"""Training throughput: the same script in a TrainingJob and under plain torchrun in a pod by hand.

Both train with two processes in one pod, with the same image, limits and restrictions, one after
the other in turns; only the epoch loop is timed. Ours also reports each epoch, as users do, and has
Ray's head in a pod of its own.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from tests.perf.common import CLAIM, MOUNT, OURS, Contender, Manifest, Result, measure, pod

# What two cores have left.
HEAD = {"cpu": "300m", "memory": "2Gi"}
RESOURCES = {"cpu": "1500m", "memory": "3Gi"}
PROCESSES = 2
CODE = "throughput-code"
CODE_DIR = "/opt/loopwright/code"


def code() -> Manifest:
    """The script that both run."""
    script = Path(__file__).with_name("train.py").read_text()
    metadata = {"name": CODE}
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"train.py": script},
    }  # fmt: skip


def training_job(name: str) -> Manifest:
    """Ours."""
    return {
        "apiVersion": "loopwright.io/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name},
        "spec": {
            "script": {"configMapRef": {"name": CODE}},
            "args": [f"{MOUNT}/{name}", "--report"],
            "numWorkers": 1,
            "procsPerWorker": PROCESSES,
            "resourcesPerWorker": RESOURCES,
            "head": {"resources": HEAD},
            "output": {"uri": f"pvc://{CLAIM}/out"},
        },
    }


def torchrun(name: str) -> Manifest:
    """The peer."""
    spec = pod("torchrun", RESOURCES)
    [container] = spec["containers"]
    container["securityContext"]["readOnlyRootFilesystem"] = True
    container["command"] = [
        # Debian's torchrun runs the system's Python, which lacks the image's packages.
        "python", "-m", "torch.distributed.run", f"--nproc-per-node={PROCESSES}",
        # --standalone insists on libuv, without which Debian's torch is built; a file does not.
        "--rdzv-backend=c10d", "--rdzv-conf=store_type=file", "--local-addr=localhost",
        f"{CODE_DIR}/train.py", f"{MOUNT}/{name}",
    ]  # fmt: skip
    container["env"] = [
        {"name": "OMP_NUM_THREADS", "value": "1"},
        {"name": "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "value": "1"},
    ]
    container["volumeMounts"] += [
        {"name": "code", "mountPath": CODE_DIR, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 (the pod's own)
    ]
    spec["volumes"] += [
        {"name": "code", "configMap": {"name": CODE}},
        {"name": "tmp", "emptyDir": {}},
    ]
    spec |= {"restartPolicy": "Never", "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def samples(_: float, text: str) -> float:
    """Samples a second, as the script measured them."""
    return float(text)


def run(repeats: int) -> Result:
    """Measures both."""
    contenders = {OURS: Contender(training_job, samples), "torchrun": Contender(torchrun, samples)}
    rates = measure(contenders, repeats, "samples/s", 0, code())
    ratio = statistics.median(rates[OURS]) / statistics.median(rates["torchrun"])
    comparison = f"ratio {ratio:.1%} (bar: 97.5%)"
    return Result("training throughput, 2 processes", rates, "samples/s", 0, comparison)
