"""Envoy Gateway beside Traefik: started only by those who need what Traefik cannot do."""

from __future__ import annotations

import shutil
from pathlib import Path

import addons
import crds
import images
import programs
from node import kubectl
from paths import ENVOY_IP, FULL, HERE
from progress import run, step, succeeds, wait_for

NAMESPACE = "envoy-gateway-system"


def start() -> str:
    """Installs it by its own chart, with a Gateway named envoy; returns the Gateway's URL."""
    with step("addon envoy-gateway"):
        controller = addons.image_of(programs.ENVOY_GATEWAY)
        images.ensure_base()  # Envoy is not static.
        proxy = addons.image_of(programs.ENVOY, base=images.BASE)
        crds.define(FULL, "envoy")
        _install(_values(controller, proxy))
        kubectl("apply", "--server-side", "-f", HERE / "addons" / "envoy.yaml")
        find = [programs.kubectl(), "--kubeconfig", FULL.kubeconfig, "-n", NAMESPACE]
        wait_for("Envoy's Service", lambda: succeeds([*find, "get", "service", "envoy"]))
        addons.balance(NAMESPACE, "envoy", ENVOY_IP)
        addons.programmed("gateway", "envoy")
    return f"http://{ENVOY_IP}"


def _values(controller: str, proxy: str) -> str:
    text = (HERE / "addons" / "envoy-values.yaml").read_text()
    return text.replace("IMAGE", controller).replace("PROXY", proxy)


def _install(values: str) -> None:
    """Runs its chart, whose values come as a template in the module."""
    work = FULL.state / "addons" / "envoy"
    shutil.rmtree(work, ignore_errors=True)
    source = programs.module_folder(programs.ENVOY_GATEWAY.module) / "charts" / "gateway-helm"
    shutil.copytree(source, work / "chart", copy_function=shutil.copyfile)
    defaults = (source / "values.tmpl.yaml").read_text()
    for word in ("${GatewayImage}", "${GatewayImagePullPolicy}"):
        defaults = defaults.replace(word, '""')
    (work / "chart" / "values.yaml").write_text(defaults)
    (work / "values.yaml").write_text(values)
    _helm(
        "upgrade", "--install", "envoy-gateway", work / "chart", "--namespace", NAMESPACE,
        "--create-namespace", "--values", work / "values.yaml", "--wait", "--timeout", "120s",
    )  # fmt: skip


def _helm(*args: str | Path) -> None:
    run(programs.build(programs.HELM), "--kubeconfig", FULL.kubeconfig, *args)
