"""Controllers that run in the cluster: KubeRay, metrics-server, storage, and S3 for the tests."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path

import images
import programs
from node import kubectl
from paths import FULL, HERE
from progress import step


def start() -> None:
    """Installs all but S3, together, and waits until they run."""
    # The one that takes longest to be ready goes first.
    for name, apply in (("metrics-server", _metrics), ("storage", _storage), ("kuberay", _kuberay)):
        with step(f"addon {name}"):
            apply()
    with step("addons ready"):
        for namespace, deployment in (
            ("kuberay-system", "kuberay-operator"),
            ("kube-system", "metrics-server"),
            ("loopwright-storage", "local-path-provisioner"),
        ):
            _rollout(namespace, deployment)


def kuberay_crds() -> Path:
    """The folder with KubeRay's CRDs, as its module ships them."""
    return programs.module_folder(programs.KUBERAY.module) / "config" / "crd" / "bases"


def s3() -> str:
    """A real S3 server with one bucket; returns its endpoint as pods see it."""
    with step("addon s3"):
        image = _scratch(programs.S3)
        if "s3-credentials" not in kubectl("get", "secrets", "-n", "s3", "-o", "name"):
            _s3_credentials()
        manifest = (HERE / "addons" / "s3.yaml").read_text()
        manifest = manifest.replace("IMAGE", image).replace("FOLDER", str(_bucket().parent))
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)
        _rollout("s3", "s3")
    return "http://s3.s3.svc:7070"


def _bucket() -> Path:
    # To versitygw a bucket is a folder; making it here spares a client that signs requests.
    bucket = FULL.state / "s3" / "loopwright"
    bucket.mkdir(parents=True, exist_ok=True)
    for folder in (bucket.parent, bucket):
        os.chown(folder, 65532, 65532)
    return bucket


def _s3_credentials() -> None:
    data = {
        "AWS_ACCESS_KEY_ID": f"lw{secrets.token_hex(8)}",
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(24),
        "AWS_ENDPOINT_URL": "http://s3.s3.svc:7070",
        "AWS_REGION": "us-east-1",
    }
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "s3"}},
        {
            "apiVersion": "v1", "kind": "Secret", "stringData": data,
            "metadata": {"name": "s3-credentials", "namespace": "s3"},
        },
    ]  # fmt: skip
    text = "\n---\n".join(json.dumps(item) for item in objects)
    kubectl("apply", "--server-side", "-f", "-", stdin=text)


def _kuberay() -> None:
    image = _scratch(programs.KUBERAY)
    config = programs.module_folder(programs.KUBERAY.module) / "config"
    _kustomize("kuberay", config, "default", "kuberay-system", image)


def _metrics() -> None:
    image = _scratch(programs.METRICS_SERVER)
    base = programs.module_folder(programs.METRICS_SERVER.module) / "manifests" / "base"
    _kustomize("metrics-server", base, ".", "kube-system", image)


def _storage() -> None:
    image = _scratch(programs.LOCAL_PATH)
    images.ensure_base()  # Its helper pods need a shell with mkdir.
    folder = FULL.state / "storage"
    folder.mkdir(exist_ok=True)
    text = (HERE / "addons" / "storage.yaml").read_text()
    for word, value in (("IMAGE", image), ("HELPER", images.BASE), ("FOLDER", str(folder))):
        text = text.replace(word, value)
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)


def _kustomize(name: str, source: Path, entry: str, namespace: str, image: str) -> None:
    """Applies a project's own manifests with our image and the patches in addons/<name>.yaml."""
    work = FULL.state / "addons" / name
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(source, work / "base", copy_function=shutil.copyfile)
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    (work / "namespace.yaml").write_text(json.dumps(space))
    text = (HERE / "addons" / f"{name}.yaml").read_text()
    text = text.replace("BASE", f"base/{entry}").replace("NAMESPACE", namespace)
    (work / "kustomization.yaml").write_text(text.replace("IMAGE", image.rpartition(":")[0]))
    kubectl("apply", "--server-side", "--force-conflicts", "-k", work)


def _scratch(program: programs.Foreign) -> str:
    built = programs.build(program)
    image = f"localhost/loopwright/{program.name}:1"
    images.ensure_scratch(image, built)
    return image


def _rollout(namespace: str, deployment: str) -> None:
    kubectl("-n", namespace, "rollout", "status", f"deployment/{deployment}", "--timeout=120s")
