"""Writes what each image is made of: CycloneDX 1.6 from the locks, with the hashes that pip checks.

    python tools/sbom.py [FOLDER]        build/sbom by default; one <image>.cdx.json for each

It needs no network, and the same locks give the same bytes. What a base image brings (Debian, CUDA)
is not in it: that is for the base image's own list.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import uuid
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple

import loopwright

ROOT: Final = Path(__file__).resolve().parent.parent
REQUIREMENTS: Final = ROOT / "requirements"
# Each is made from the lock of its name.
IMAGES: Final = ("operator", "runtime", "runtime-cuda", "serving", "serving-torch")
PERMISSIVE: Final = re.compile(
    r"\b(MIT|BSD|Apache|ISC|PSF|Python Software Foundation|Python-2\.0|Unlicense|Zlib|HPND|0BSD"
    r"|BlueOak|CC0)\b",
    re.I,
)
# Copyleft by file: shipped unmodified, which asks nothing of what stands beside it.
BY_FILE: Final = frozenset({"certifi", "orjson", "tqdm", "pathspec"})
NVIDIA: Final = "LicenseRef-NVIDIA"
"""Of NVIDIA's libraries, under terms of their own; in no image but runtime-cuda."""
# Of what the developers' environment lacks, by the projects' own pages.
ELSEWHERE: Final = {
    "cuda-pathfinder": "Apache-2.0", "jinja2": "BSD-3-Clause", "mpmath": "BSD-3-Clause",
    "networkx": "BSD-3-Clause", "onnx-ir": "Apache-2.0", "onnxscript": "MIT",
    "sympy": "BSD-3-Clause", "torch": "BSD-3-Clause", "triton": "MIT",
}  # fmt: skip
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.M)
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class Package(NamedTuple):
    """A pinned package."""

    name: str
    """Normalised."""
    version: str
    hashes: tuple[str, ...]
    """sha256 of each of its files that pip may take."""


def normalised(name: str) -> str:
    """A name as PyPI compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def packages(lock: Path) -> Iterator[Package]:
    """All packages of a lock, in its order."""
    text = lock.read_text()
    pins = list(_PIN.finditer(text))
    ends = [pin.start() for pin in pins[1:]] + [len(text)]
    for pin, end in zip(pins, ends, strict=True):
        hashes = tuple(_HASH.findall(text[pin.end() : end]))
        yield Package(normalised(pin[1]), pin[2], hashes)


def of_image(image: str) -> list[Package]:
    """What is installed into an image."""
    return list(packages(REQUIREMENTS / f"{image}.lock"))


def licence(name: str) -> str:
    """What a package says of its licence; empty if nobody here knows."""
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    if name.startswith(("nvidia-", "cuda-")):
        return NVIDIA
    try:
        meta = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    kinds = [one for one in meta.get_all("Classifier") or [] if one.startswith("License")]
    said = (meta.get("License-Expression"), *kinds, (meta.get("License") or "")[:200])
    return " ".join(filter(None, said))


def bom(image: str) -> dict[str, Any]:
    """The bill of materials of an image."""
    found = of_image(image)
    digest = hashlib.sha256(repr(found).encode()).hexdigest()
    top = f"pkg:oci/{image}@{loopwright.__version__}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{top}/{digest}')}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container", "bom-ref": top, "name": f"loopwright/{image}",
                "version": loopwright.__version__,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
        },
        "components": [_component(one) for one in sorted(found)],
        "dependencies": [{"ref": top, "dependsOn": sorted(_purl(one) for one in found)}],
    }  # fmt: skip


def _purl(one: Package) -> str:
    return f"pkg:pypi/{one.name}@{one.version}"


def _component(one: Package) -> dict[str, Any]:
    said = " ".join(licence(one.name).split())
    return {
        "type": "library",
        "bom-ref": _purl(one),
        "purl": _purl(one),
        "name": one.name,
        "version": one.version,
        "hashes": [{"alg": "SHA-256", "content": text} for text in one.hashes],
        **({"licenses": [{"license": {"name": said}}]} if said else {}),
    }


def main() -> None:
    """Entry point."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "sbom"
    folder.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        made = bom(image)
        file = folder / f"{image}.cdx.json"
        file.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")
        print(f"{file}: {len(made['components'])} packages")


if __name__ == "__main__":
    main()
