"""KubeRay, KServe, a gateway, metrics-server and storage; S3 for the tests that need it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import crds
import images
import pki
import programs
from node import kubectl
from paths import FULL, GATEWAY_IP, HERE
from progress import step, together


def start() -> None:
    """Installs all but S3, together, and waits until they run."""
    # The first waits long for its second look at the node; the rest is work for all cores.
    with step("addon metrics-server"):
        _metrics()
    together(
        lambda: _install("kserve", _kserve),
        lambda: _install("gateway", _gateway),
        lambda: _install("kuberay", _kuberay),
        lambda: _install("storage", _storage),
    )
    with step("addons ready"):
        for namespace, deployment in (
            ("kuberay-system", "kuberay-operator"),
            ("kube-system", "metrics-server"),
            ("kserve", "kserve-controller-manager"),
            ("gateway", "traefik"),
            ("loopwright-storage", "local-path-provisioner"),
        ):
            rollout(namespace, deployment)
        programmed("gateway", "loopwright")


def gateway_url() -> str:
    """Where the Gateway answers, seen from this machine and from every pod."""
    return f"http://{GATEWAY_IP}"


def s3() -> str:
    """A real S3 server with one bucket; returns its endpoint as pods see it."""
    with step("addon s3"):
        image = image_of(programs.S3)
        if "s3-credentials" not in kubectl("get", "secrets", "-n", "s3", "-o", "name"):
            _s3_credentials()
        manifest = (HERE / "addons" / "s3.yaml").read_text()
        manifest = manifest.replace("IMAGE", image).replace("FOLDER", str(_bucket().parent))
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)
        rollout("s3", "s3")
    return "http://s3.s3.svc:7070"


def kserve_logger() -> None:
    """Lets InferenceServices have a logger: the image of KServe's agent, and what it may take."""
    with step("addon kserve-logger"):
        agent = {
            "image": image_of(programs.KSERVE_AGENT),
            "cpuRequest": "20m", "cpuLimit": "1", "memoryRequest": "32Mi", "memoryLimit": "256Mi",
        }  # fmt: skip
        # KServe reads both again for each pod.
        data = {one: json.dumps(agent) for one in ("agent", "logger")}
        kubectl(
            "-n", "kserve", "patch", "configmap", "inferenceservice-config", "--type=merge",
            "-p", json.dumps({"data": data}),
        )  # fmt: skip


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


def _install(name: str, apply: Callable[[], None]) -> None:
    with step(f"addon {name}"):
        # A controller that starts before its kinds are served gives up and starts again, later.
        if name in crds.PROJECTS:
            crds.define(FULL, name)
        apply()


def _kuberay() -> None:
    image = image_of(programs.KUBERAY)
    config = programs.module_folder(programs.KUBERAY.module) / "config"
    kustomize("kuberay", config, "kuberay-system", image)


def _kserve() -> None:
    image = image_of(programs.KSERVE)
    config = programs.module_folder(programs.KSERVE.module) / "config"
    host = "kserve-webhook-server-service.kserve.svc"
    certificate, key, authority = pki.server(FULL, "kserve", host)
    settings = HERE / "addons" / "kserve-config.yaml"
    files = {
        "tls.crt": certificate, "tls.key": key, "ca.crt": authority, "config.yaml": settings,
    }  # fmt: skip
    kustomize("kserve", config, "kserve", image, files)


def _gateway() -> None:
    image = image_of(programs.TRAEFIK)
    manifest = (HERE / "addons" / "gateway.yaml").read_text().replace("IMAGE", image)
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)
    balance("gateway", "traefik", GATEWAY_IP)


def _metrics() -> None:
    image = image_of(programs.METRICS_SERVER)
    base = programs.module_folder(programs.METRICS_SERVER.module) / "manifests" / "base"
    kustomize("metrics-server", base, "kube-system", image)


def _storage() -> None:
    image = image_of(programs.LOCAL_PATH)
    images.ensure_base()  # Its helper pods need a shell with mkdir.
    folder = FULL.state / "storage"
    folder.mkdir(exist_ok=True)
    text = (HERE / "addons" / "storage.yaml").read_text()
    for word, value in (("IMAGE", image), ("HELPER", images.BASE), ("FOLDER", str(folder))):
        text = text.replace(word, value)
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)


def kustomize(
    name: str, source: Path, namespace: str, image: str, files: Mapping[str, Path] | None = None
) -> None:
    """Applies a project's own manifests with our image and the patches in addons/<name>.yaml.

    Args:
        source: The project's folder of manifests, BASE in those patches.
        files: More files that they name, by the name that they are known by there.
    """
    work = FULL.state / "addons" / name
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(source, work / "base", copy_function=shutil.copyfile)
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    (work / "namespace.yaml").write_text(json.dumps(space))
    for file, path in (files or {}).items():
        shutil.copyfile(path, work / file)
    text = (HERE / "addons" / f"{name}.yaml").read_text()
    text = text.replace("BASE", "base").replace("NAMESPACE", namespace)
    (work / "kustomization.yaml").write_text(text.replace("IMAGE", image.rpartition(":")[0]))
    kubectl("apply", "--server-side", "--force-conflicts", "-k", work)


def image_of(program: programs.Program, base: str = "scratch") -> str:
    """The image that holds just this program; both are made when they are missing."""
    image = f"localhost/loopwright/{program.name}:1"
    images.ensure_program(image, programs.build(program), base=base)
    return image


def balance(namespace: str, service: str, address: str) -> None:
    """Gives a Service of type LoadBalancer its address, as a cloud's controller does."""
    patch = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
    kubectl(
        "-n", namespace, "patch", "service", service, "--subresource=status", "--type=merge",
        "-p", json.dumps(patch),
    )  # fmt: skip


def programmed(namespace: str, gateway: str) -> None:
    """Waits until a Gateway takes traffic."""
    kubectl(
        "-n", namespace, "wait", f"gateway/{gateway}", "--for=condition=Programmed",
        "--timeout=300s",
    )  # fmt: skip


def rollout(namespace: str, deployment: str) -> None:
    """Waits until a Deployment has all its pods."""
    kubectl("-n", namespace, "rollout", "status", f"deployment/{deployment}", "--timeout=600s")
