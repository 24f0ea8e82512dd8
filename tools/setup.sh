#!/usr/bin/env bash
# Installs what kerasfit needs for the demo (tools/setup.sh demo) or for building and testing (tools/setup.sh test, the default):
# R and R packages, a Python environment in .venv, R packages that have to be built in .Rlib, and kerasfit itself.
# Idempotent: each step writes a stamp with a checksum of its inputs, and is skipped until the inputs change.
# Runs in bash 3.2, which macOS has. The environment variable PYTHON selects the Python for .venv.
set -euo pipefail
cd "$(dirname "$0")/.."

PURPOSE=${1:-test}
case $PURPOSE in demo | test) ;; *) echo "usage: tools/setup.sh [demo|test]" >&2; exit 2 ;; esac

R_PACKAGES=(cli generics R6 rlang ggplot2 mlbench)
RETICULATE_NEEDS=(jsonlite Matrix rcpp RcppTOML here png rappdirs lifecycle withr)
SYSTEM_PACKAGES=(r-base-core r-base-dev python3-venv)
EXTRAS=tensorflow
if [ "$PURPOSE" = test ]; then
  R_PACKAGES+=(codetools htmltools htmlwidgets jsonlite plotly shiny knitr rmarkdown testthat roxygen2 bit64 Matrix tibble
               vdiffr IRkernel withr callr processx future future.apply globals rsample spelling lintr)
  SYSTEM_PACKAGES+=(pandoc qpdf python3-dev git chromium fonts-dejavu-core)
  EXTRAS=tensorflow,jax,test
fi
RETICULATE_MINIMUM=1.41
TORCH=torch==2.13.0

RLIB=$PWD/.Rlib
export R_LIBS=$RLIB

say()     { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
fail()    { printf '%s\n' "$@" >&2; exit 1; }
have()    { command -v "$1" >/dev/null 2>&1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# stamped NAME FILE... : does the stamp NAME match the current contents of the FILEs?
sha256()  { if have sha256sum; then sha256sum; else shasum -a 256; fi; }
digest()  { cat "$@" | sha256 | cut -d' ' -f1; }
stamped() { local name=$1; shift; [ "$(cat "$name" 2>/dev/null)" = "$(digest "$@")" ]; }
stamp()   { local name=$1; shift; digest "$@" > "$name"; }

# fail_missing WHAT FEDORA_PACKAGES HOMEBREW_PACKAGES : fail with instructions for systems without apt
fail_missing() {
  local how="Install it from your system's packages"
  if have dnf; then
    how="sudo dnf install $2"
  elif [ "$(uname)" = Darwin ]; then
    how="brew install $3"
  fi
  fail "kerasfit needs $1. To install it:" "  $how" "Then run this command again."
}

# install_from_cran PACKAGE... : install missing packages, and reticulate in any case; fail if one is still missing
install_from_cran() {
  Rscript -e 'missing <- function() setdiff(commandArgs(TRUE), rownames(installed.packages()))' \
          -e 'wanted <- union(intersect(commandArgs(TRUE), "reticulate"), missing())' \
          -e 'if (identical(getOption("repos")[["CRAN"]], "@CRAN@")) chooseCRANmirror(ind = 1)' \
          -e 'options(timeout = 60)' \
          -e 'if (length(wanted)) install.packages(wanted, lib = Sys.getenv("R_LIBS"))' \
          -e 'if (length(missing())) stop("no package ", toString(missing()), call. = FALSE)' "$@"
}

# --- R and its packages, from Debian if apt is available, else from CRAN -------------------------

debian_packages() {
  printf '%s\n' "${SYSTEM_PACKAGES[@]}"
  printf 'r-cran-%s\n' "${R_PACKAGES[@]}" "${RETICULATE_NEEDS[@]}" | tr '[:upper:]' '[:lower:]'
}

missing_debian_packages() {
  comm -23 <(debian_packages | sort -u) \
           <(dpkg-query -W -f='${db:Status-Abbrev}${Package}\n' 2>/dev/null | sed -n 's/^ii //p' | sort -u)
}

install_debian_packages() {
  local missing known=() name
  missing=$(missing_debian_packages)
  [ -n "$missing" ] || return 0
  [ "$(id -u)" = 0 ] || have sudo || fail "These packages are missing, and sudo is not available to install them:" "$missing"
  as_root apt-get update -qq
  # packages that this distribution lacks are installed from CRAN later
  while IFS= read -r name; do known+=("$name"); done < <(comm -12 <(echo "$missing") <(apt-cache pkgnames | sort))
  [ "${#known[@]}" != 0 ] || return 0
  say "Installing from Debian: ${known[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${known[@]}" >/dev/null
}

install_r() {
  if have apt-get; then install_debian_packages; fi
  have Rscript || fail_missing "R 4.1 or newer" "R-core R-core-devel" r
  Rscript -e 'quit(status = as.integer(getRversion() < "4.1"))' ||
    fail_missing "R 4.1 or newer, not this one" "R-core R-core-devel" r
  [ "$PURPOSE" = demo ] || have pandoc || fail_missing pandoc pandoc pandoc
  install_from_cran "${R_PACKAGES[@]}" ||
    fail "R packages could not be installed from CRAN (see above). On Fedora, some are built with:" \
         "  sudo dnf install R-core-devel libcurl-devel openssl-devel libxml2-devel libpng-devel"
}

# --- reticulate: from CRAN if it can be reached, else from Debian trixie's source ----------------

reticulate_is_recent() {
  Rscript -e 'recent <- requireNamespace("reticulate", quietly = TRUE) &&' \
          -e '  packageVersion("reticulate") >= commandArgs(TRUE)' \
          -e 'quit(status = if (recent) 0 else 1)' "$RETICULATE_MINIMUM" >/dev/null 2>&1
}

reticulate_from_cran() {
  install_from_cran reticulate > "$RLIB/reticulate.log" 2>&1
  reticulate_is_recent
}

# Debian 12 has reticulate 1.28, which cannot load NumPy 2. trixie's upstream tarball builds with Debian 12's R.
# Only the orig tarball is needed, so apt's errors about the rest of the source package are ignored.
reticulate_from_trixie() (
  have apt-get || return 1
  local work mirror found
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/lists/partial"
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(SITE)' 'Origin: Debian' | grep -v security | head -1)
  echo "deb-src $mirror trixie main" > "$work/sources.list"
  chmod -R a+rX "$work"
  apt_trixie() { apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
                         -o Dir::State::Lists="$work/lists" -o APT::Sandbox::User="$(id -un)" "$@"; }
  apt_trixie update
  (cd "$work" && apt_trixie source --download-only r-cran-reticulate >/dev/null 2>&1) || true
  tar -xf "$work"/r-cran-reticulate_*.orig.tar.* -C "$work"
  found=$(echo "$work"/*/DESCRIPTION)
  R CMD INSTALL --library="$RLIB" --no-docs --no-test-load "${found%/*}" > "$work/log" 2>&1 ||
    { cat "$work/log" >&2; return 1; }
  reticulate_is_recent
)

install_reticulate() {
  reticulate_is_recent && return
  say "Building reticulate $RETICULATE_MINIMUM or newer into .Rlib"
  reticulate_from_cran || reticulate_from_trixie ||
    fail "$(cat "$RLIB/reticulate.log")" \
         "reticulate $RETICULATE_MINIMUM or newer could not be installed, from CRAN or from Debian."
}

# --- Python -------------------------------------------------------------------------------------

NEWEST_PYTHON=13 # the newest for which all backends are known to be available

# is_python COMMAND [NEWEST] : is COMMAND Python 3.10 or newer, up to 3.NEWEST, with the module venv?
is_python() { "$1" -c "import sys, venv; sys.exit(not (3, 10) <= sys.version_info < (3, ${2:-98} + 1))" >/dev/null 2>&1; }

choose_python() {
  local python
  if [ -n "${PYTHON:-}" ]; then
    is_python "$PYTHON" || fail "PYTHON=$PYTHON must be Python 3.10 or newer with the module venv."
    echo "$PYTHON"
    return
  fi
  for python in python3 python3.13 python3.12 python3.11 python3.10; do
    if is_python "$python" "$NEWEST_PYTHON"; then echo "$python"; return; fi
  done
  fail_missing "Python 3.10 to 3.$NEWEST_PYTHON (PYTHON=/path/to/python selects another one)" python3.12 python@3.12
}

uv_install() { .venv/bin/uv pip install -q --compile-bytecode --python .venv/bin/python "$@"; }

# PyTorch without CUDA: from pip's folder of local wheels if there is one, else from PyTorch's own index, which uv knows.
# If that index cannot be reached, from PyPI, whose package for Linux includes gigabytes of CUDA.
install_torch() {
  if [ -n "${PIP_FIND_LINKS:-}" ]; then
    UV_FIND_LINKS=$PIP_FIND_LINKS uv_install "$TORCH"
  else
    UV_TORCH_BACKEND=cpu uv_install "$TORCH" || { say "PyTorch's own index failed: installing PyPI's"; uv_install "$TORCH"; }
  fi || fail "PyTorch could not be installed. The tests need it; \`make demo\` does not."
}

install_python() {
  say "Installing Python packages into .venv"
  local python
  if ! is_python .venv/bin/python; then
    python=$(choose_python)
    "$python" -m venv --clear .venv
  fi
  .venv/bin/python -m pip install -q --disable-pip-version-check uv
  if [ "$PURPOSE" = demo ]; then
    uv_install -r pyproject.toml --extra "$EXTRAS"
    return
  fi
  install_torch
  # rpy2 3.6 and newer use symbols that only R 4.5 and newer has
  uv_install -e ".[$EXTRAS]" "$(Rscript -e 'cat(if (getRversion() >= "4.5") "rpy2" else "rpy2==3.5.17")')"
}

# --- kerasfit -----------------------------------------------------------------------------------

install_kerasfit() {
  say "Installing kerasfit into .Rlib"
  R CMD INSTALL --library="$RLIB" --no-test-load . > "$RLIB/kerasfit.log" 2>&1 || { cat "$RLIB/kerasfit.log" >&2; exit 1; }
}

package_files() {
  find DESCRIPTION NAMESPACE R man inst -type f -not -path '*/__pycache__/*' -not -path 'inst/doc/*' | LC_ALL=C sort
}

# needs STAMP FILE : has FILE changed since it was installed for this purpose or for tests, which need all that the demo needs?
needs() { ! { stamped "$1-test" "$2" || stamped "$1-$PURPOSE" "$2"; }; }

mkdir -p "$RLIB"

if needs "$RLIB/.dependencies" tools/setup.sh || ! have Rscript; then
  install_r
  install_reticulate
  stamp "$RLIB/.dependencies-$PURPOSE" tools/setup.sh
fi

if needs .venv/.dependencies pyproject.toml || ! is_python .venv/bin/python; then
  install_python
  stamp ".venv/.dependencies-$PURPOSE" pyproject.toml
fi

FILES=$(mktemp)
trap 'rm -f "$FILES"' EXIT
package_files | while IFS= read -r file; do echo "$file"; cat "$file"; done > "$FILES"
stamped "$RLIB/.kerasfit" "$FILES" ||
  { install_kerasfit; stamp "$RLIB/.kerasfit" "$FILES"; }
