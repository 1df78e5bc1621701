#!/usr/bin/env bash
# Resolves each image's and the developers' requirements into locks with hashes.
set -euo pipefail
cd "$(dirname "$0")/.."
lock() {
  name=$1; shift
  # The index is each machine's own setting and has no place in a lock.
  uv pip compile pyproject.toml "$@" --quiet --generate-hashes --no-emit-index-url --no-header \
    --no-annotate --output-file "requirements/$name.lock"
}
lock operator --python-version 3.13 --extra operator
# Debian's torch is outside the lock; on CUDA bases torch comes from runtime-cuda.lock.
lock runtime --python-version 3.13 --extra runtime
lock runtime-cuda --python-version 3.12 --extra runtime --extra cuda
lock serving --python-version 3.13 --extra serving
lock serving-torch --python-version 3.13 --extra serving --extra serving-torch
lock audit --universal --python-version 3.11 --group audit
lock kserve --universal --python-version 3.11 --group kserve
lock evidently --universal --python-version 3.11 --group evidently
lock docs --universal --python-version 3.11 --group docs
lock dev --universal --python-version 3.11 --extra dev
