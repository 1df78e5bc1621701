"""The embedded cluster's command: `python3 cluster/cli.py up`. The Makefile calls it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import addons
import controlplane
import crds
import envoy
import host
import images
import kuberouter
import kueue
import node
import processes
import programs
import teardown
from paths import CONTROL_PLANE, FULL, HOME
from progress import ClusterError, step, succeeds


def up(_: argparse.Namespace) -> None:
    """Build what is missing and start the whole cluster."""
    started = time.monotonic()
    host.preflight()
    host.install_packages()
    for program in programs.CLUSTER:
        programs.build(program)
    node.start()
    addons.start()
    if kuberouter.wanted():
        kuberouter.start()
    print(f"\nThe cluster is up after {time.monotonic() - started:.0f} s. Use it with")
    print(f"  export KUBECONFIG={FULL.kubeconfig} PATH={HOME}/bin:$PATH")
    print(f"  kubectl get nodes        (logs are in {FULL.logs})")
    print(f"The gateway answers at {addons.gateway_url()}")


def down(options: argparse.Namespace) -> None:
    """Stop the cluster and remove everything it made; the cache stays unless --purge."""
    teardown.down(options.purge)


def build_programs(_: argparse.Namespace) -> None:
    """Build or download every program that the cluster and the tests run."""
    host.preflight(full=False)
    for program in (*programs.CLUSTER, *programs.TESTS):
        # Elsewhere than on Debian tests use what is on PATH.
        if not (isinstance(program, programs.Deb) and host.has_elsewhere(program.name)):
            programs.build(program)


def status(_: argparse.Namespace) -> None:
    """Show each program and deployment; exit code 1 unless all run."""
    names = processes.names(FULL)
    if not names:
        raise ClusterError("the cluster is not running; start it with `make cluster-up`")
    dead = []
    for name in names:
        pid = processes.pid_of(FULL, name)
        dead += [] if pid else [name]
        print(f"{name:<26}{'running, pid ' + str(pid) if pid else 'DEAD, see ' + str(FULL.logs)}")
    if "kube-apiserver" not in dead and "etcd" not in dead:
        print("\n" + node.kubectl("get", "nodes"))
        print(node.kubectl("get", "deployments", "-A"))
        print(f"The gateway answers at {addons.gateway_url()}")
    if dead:
        raise ClusterError(f"not running: {', '.join(dead)}; `make cluster-up` starts them again")


def build_images(options: argparse.Namespace) -> None:
    """Build Loopwright's images and those that are named, and load them into the cluster."""
    if not succeeds([*images.CTR, "version"]):
        raise ClusterError("the cluster is not running; start it with `make cluster-up`")
    images.build_all(*options.more)


def control_plane_up(_: argparse.Namespace) -> None:
    """Start only etcd and kube-apiserver, with all CRDs but Loopwright's, for integration tests."""
    host.preflight(full=False)
    controlplane.start(CONTROL_PLANE, crds.CONTROL_PLANE)
    with step("CRDs"):
        for project in crds.CONTROL_PLANE:
            crds.define(CONTROL_PLANE, project)
    print(CONTROL_PLANE.kubeconfig)


def control_plane_down(_: argparse.Namespace) -> None:
    """Stop them and remove their data."""
    teardown.down_control_plane(CONTROL_PLANE)


def print_crds(options: argparse.Namespace) -> None:
    """Print the files with the CRDs of the given projects, as one JSON list."""
    print(json.dumps([str(file) for name in options.projects for file in crds.files(name)]))


def s3(_: argparse.Namespace) -> None:
    """Start a real S3 server in the cluster, with a bucket named loopwright."""
    print(addons.s3())


def envoy_gateway(_: argparse.Namespace) -> None:
    """Start Envoy Gateway beside Traefik, for what Traefik cannot do; print its Gateway's URL."""
    print(envoy.start())


def kueue_up(_: argparse.Namespace) -> None:
    """Start Kueue, for tests of queues."""
    kueue.start()


def kueue_down(_: argparse.Namespace) -> None:
    """Take Kueue away again, whose webhooks look at every pod."""
    kueue.stop()


def kserve_logger_up(_: argparse.Namespace) -> None:
    """Let InferenceServices have KServe's logger, until the next `up`."""
    addons.kserve_logger()


def network_policies_up(_: argparse.Namespace) -> None:
    """Enforce NetworkPolicies, which the cluster's own network does not, by kube-router."""
    kuberouter.start()


def network_policies_down(_: argparse.Namespace) -> None:
    """Enforce them no longer."""
    kuberouter.stop()


def peers(_: argparse.Namespace) -> None:
    """Build the operators that benchmarks compare with; print where they and their sources are."""
    found = {
        "kuberay": programs.build(programs.KUBERAY),
        "trainer": programs.build(programs.TRAINER),
        "trainer-source": programs.module_folder(programs.TRAINER.module),
        "jobset-source": programs.module_folder(programs.JOBSET),
    }
    print(json.dumps({name: str(path) for name, path in found.items()}))


def fake_gpu(options: argparse.Namespace) -> None:
    """Make the node claim COUNT GPUs that it has not; proves scheduling only."""
    node.fake_gpus(options.count)


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "up": up,
    "down": down,
    "status": status,
    "programs": build_programs,
    "images": build_images,
    "control-plane-up": control_plane_up,
    "control-plane-down": control_plane_down,
    "crds": print_crds,
    "s3": s3,
    "envoy-gateway": envoy_gateway,
    "kueue-up": kueue_up,
    "kueue-down": kueue_down,
    "kserve-logger-up": kserve_logger_up,
    "network-policies-up": network_policies_up,
    "network-policies-down": network_policies_down,
    "peers": peers,
    "fake-gpu": fake_gpu,
}


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="cluster", description=__doc__)
    parsers = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        one = parsers.add_parser(name, help=command.__doc__)
        if name == "down":
            one.add_argument("--purge", action="store_true", help="remove the cache too")
        if name == "images":
            one.add_argument("more", nargs="*", metavar="|".join(images.MORE))
        if name == "crds":
            one.add_argument("projects", nargs="+", choices=crds.PROJECTS)
        if name == "fake-gpu":
            one.add_argument("count", type=int)
    options = parser.parse_args()
    try:
        COMMANDS[options.command](options)
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cluster: interrupted; `make cluster-down` removes what was started", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
