#!/usr/bin/env bash
# Runs tests of the core with the oldest or the newest versions of what it needs, in an environment in build/:
#   tools/test-with.sh oldest|newest "backend ..." TEST...
# The oldest are the lower bounds in pyproject.toml. The newest are the newest releases, and the newest
# pre-release of Keras, which is keras-nightly.
set -euo pipefail
cd "$(dirname "$0")/.."
which=$1 backends=$2
shift 2
environment=build/python-$which
python=$environment/bin/python

if [ -n "${PIP_FIND_LINKS:-}" ]; then export UV_FIND_LINKS=$PIP_FIND_LINKS; else export UV_TORCH_BACKEND=cpu; fi
uv() { .venv/bin/uv "$@"; }

# $1 and after: versions that differ from what pyproject.toml leads to
install() {
  # of PyTorch, the version that the set-up installs: others may come with gigabytes for GPUs
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
    *) echo "oldest or newest, not $which" >&2; exit 2 ;;
  esac
  uv pip uninstall -q --python "$python" kerasfit # the tests are to see the source
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
