#!/usr/bin/env bash
# Runs R CMD check on the release tarball, in the given modes or in all three:
#   cran      as CRAN runs it, --as-cran; CRAN's machines have no Keras
#   full      with all tests, NOT_CRAN=true
#   imports   with only the packages that the package imports, _R_CHECK_DEPENDS_ONLY_=true
# Fails on an error, a warning or a note.
set -euo pipefail
cd "$(dirname "$0")/.."

top=$PWD/build/check
rm -rf "$top"
mkdir -p "$top/source"

# Copy only files that git tracks or would add: R CMD build copies the whole folder, and ours has gigabytes of Python.
git ls-files -z --cached --others --exclude-standard --deduplicate |
  while IFS= read -r -d '' file; do [ -e "$file" ] && printf '%s\0' "$file"; done |
  tar --null --files-from - --create | tar --extract --directory "$top/source"

tools/current.sh "$top/source"
(cd "$top" && R CMD build source)

# Skip checks that need the network, and allow suggested packages to be missing on this machine.
export _R_CHECK_CRAN_INCOMING_=false _R_CHECK_SYSTEM_CLOCK_=false _R_CHECK_FORCE_SUGGESTS_=false
export _R_CHECK_PACKAGE_DEPENDS_IGNORE_MISSING_ENHANCES_=true

check() {
  local mode=$1
  shift
  echo "==> R CMD check: $mode"
  mkdir "$top/$mode"
  "$@" R CMD check --no-manual "${options[@]}" --output="$top/$mode" "$top"/kerasfit_*.tar.gz || return 1
  grep -q '^Status: OK$' "$top/$mode/kerasfit.Rcheck/00check.log" ||
    { echo "R CMD check ($mode): warnings or notes were found." >&2; return 1; }
}

failed=
for mode in ${*:-cran full imports}; do
  options=(--as-cran)
  case $mode in
    cran) check cran env -u NOT_CRAN ;;
    full) check full env NOT_CRAN=true ;;
    imports) check imports env -u NOT_CRAN _R_CHECK_DEPENDS_ONLY_=true ;;
    *) echo "unknown mode: $mode (use cran, full or imports)" >&2; exit 2 ;;
  esac || failed="$failed $mode"
done
grep -H '^Status' "$top"/*/kerasfit.Rcheck/00check.log
[ -z "$failed" ] || { echo "R CMD check failed:$failed" >&2; exit 1; }
