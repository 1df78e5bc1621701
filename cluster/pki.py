"""Certificates and keys of a cluster, made anew for each one and never kept."""

from __future__ import annotations

from pathlib import Path

from paths import NODE, NODE_IP, SERVICE_IP, Layout
from progress import run

SERVER_NAMES = (
    "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,"
    f"DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:{NODE_IP},IP:{SERVICE_IP}"
)

# User name and group of each component, as RBAC's built-in bindings expect them.
CLIENTS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "proxy": ("system:kube-proxy", ""),
    "dns": ("loopwright:dns", ""),
    "apiserver-kubelet-client": ("kube-apiserver", "system:masters"),
}


def make(layout: Layout) -> None:
    """Makes everything that is missing, and a kubeconfig for each client."""
    layout.pki.mkdir(parents=True, exist_ok=True)
    layout.pki.chmod(0o700)
    for authority in ("ca", "front-proxy-ca"):
        _authority(layout.pki, authority)
    _signed(layout.pki, "apiserver", "/CN=kube-apiserver", names=SERVER_NAMES)
    _signed(layout.pki, "kubelet-server", f"/CN={NODE}", names=f"DNS:{NODE},IP:{NODE_IP}")
    _signed(layout.pki, "front-proxy", "/CN=front-proxy-client", authority="front-proxy-ca")
    for name, (user, group) in CLIENTS.items():
        client(layout, name, user, group)
    key = layout.pki / "service-account.key"
    if not key.exists():
        _private(run("openssl", "genrsa", "2048"), key)


def client(layout: Layout, name: str, user: str, group: str = "") -> Path:
    """The kubeconfig of a client that the API server knows as that user."""
    _signed(layout.pki, name, f"/O={group}/CN={user}" if group else f"/CN={user}")
    return _kubeconfig(layout, name)


def server(layout: Layout, name: str, host: str) -> tuple[Path, Path, Path]:
    """Certificate and key of a server in the cluster, and the authority that vouches for it."""
    _signed(layout.pki, name, f"/CN={name}", names=f"DNS:{host}")
    return layout.pki / f"{name}.crt", layout.pki / f"{name}.key", layout.pki / "ca.crt"


def _private(text: str, file: Path) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


def _authority(folder: Path, name: str) -> None:
    if (folder / f"{name}.crt").exists():
        return
    run(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt",
    )  # fmt: skip


def _signed(
    folder: Path, name: str, subject: str, *, names: str = "", authority: str = "ca"
) -> None:
    certificate = folder / f"{name}.crt"
    if certificate.exists():
        return
    request = folder / f"{name}.csr"
    run(
        "openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", subject,
        "-keyout", folder / f"{name}.key", "-out", request,
    )  # fmt: skip
    extensions = folder / f"{name}.ext"
    usage = "serverAuth,clientAuth" if names else "clientAuth"
    # Python 3.13 refuses certificates without the key identifier.
    lines = [f"extendedKeyUsage={usage}", "authorityKeyIdentifier=keyid"]
    lines += [f"subjectAltName={names}"] if names else []
    extensions.write_text("\n".join(lines))
    run(
        "openssl", "x509", "-req", "-days", "3650", "-in", request, "-extfile", extensions,
        "-CA", folder / f"{authority}.crt", "-CAkey", folder / f"{authority}.key",
        "-CAcreateserial", "-out", certificate,
    )  # fmt: skip


def _kubeconfig(layout: Layout, client: str) -> Path:
    target = layout.kubeconfig if client == "admin" else layout.state / f"{client}.kubeconfig"
    pki = layout.pki
    text = f"""apiVersion: v1
kind: Config
clusters:
- name: loopwright
  cluster: {{server: "{layout.server}", certificate-authority: {pki}/ca.crt}}
users:
- name: {client}
  user: {{client-certificate: {pki}/{client}.crt, client-key: {pki}/{client}.key}}
contexts:
- name: loopwright
  context: {{cluster: loopwright, user: {client}}}
current-context: loopwright
"""
    _private(text, target)
    return target
