#!/usr/bin/env bash
# Runs tests of the core with the oldest or the newest versions of its dependencies, in a virtual environment in build/:
#   tools/test-with.sh oldest|newest "backend ..." TEST...
# The oldest versions are the lower bounds in pyproject.toml. The newest are the newest releases and, for Keras, the newest
# pre-release, keras-nightly.
set -euo pipefail
cd "$(dirname "$0")/.."
which=$1 backends=$2
shift 2
environment=build/python-$which
python=$environment/bin/python

if [ -n "${PIP_FIND_LINKS:-}" ]; then export UV_FIND_LINKS=$PIP_FIND_LINKS; else export UV_TORCH_BACKEND=cpu; fi
uv() { .venv/bin/uv "$@"; }

# install OPTION... : install the core and its dependencies; OPTIONs for uv select other versions than pyproject.toml would give
install() {
  # PyTorch in the version that tools/setup.sh installs: others may include gigabytes for GPUs
  uv pip install -q --python "$python" "$@" '.[tensorflow,jax,test]' "$(sed -n 's/^TORCH=//p' tools/setup.sh)"
}

if [ "$(cat "$environment/.made-from" 2>/dev/null)" != "$(cat pyproject.toml; date +%G-%V)" ]; then
  echo "Installing the $which versions into $environment" >&2
  rm -rf "$environment"
  uv venv -q --python .venv/bin/python "$environment"
  case $which in
    oldest)
      tools/lower-bounds.py > "$environment/oldest.txt"
      install --constraint "$environment/oldest.txt" ;;
    newest)
      install --upgrade
      uv pip uninstall -q --python "$python" keras
      uv pip install -q --python "$python" --no-deps --prerelease allow keras-nightly ;;
    *) echo "usage: tools/test-with.sh oldest|newest \"backend ...\" TEST..." >&2; exit 2 ;;
  esac
  uv pip uninstall -q --python "$python" kerasfit # so that the tests import the source
  { cat pyproject.toml; date +%G-%V; } > "$environment/.made-from"
fi

uv pip list -q --python "$python" | grep -E "^(keras|tensorflow|jax|torch|numpy|pandas)" >&2
export PYTHONPATH=$PWD/inst/python KERASFIT_CACHE=$PWD/build/cache-$which
failed=
for backend in $backends; do
  echo "== $which versions, $backend" >&2
  KERAS_BACKEND=$backend "$python" -m pytest -n auto --dist worksteal "$@" || failed="$failed $backend"
done
[ -z "$failed" ] || { echo "With the $which versions, tests failed on:$failed" >&2; exit 1; }
