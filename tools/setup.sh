#!/usr/bin/env bash
# Installs everything kerasfit is built and tested with: R and R packages, a Python environment
# in .venv, R packages that have to be built in .Rlib, and kerasfit itself.
# Idempotent: each step leaves a stamp that names what it was made from and does nothing while
# that has not changed.
set -euo pipefail
cd "$(dirname "$0")/.."

R_PACKAGES=(cli codetools generics R6 rlang ggplot2 htmltools htmlwidgets jsonlite plotly shiny knitr rmarkdown testthat roxygen2 bit64 Matrix mlbench tibble vdiffr IRkernel withr callr processx)
RETICULATE_MINIMUM=1.41
RETICULATE_NEEDS=(jsonlite Matrix rcpp RcppTOML here png rappdirs lifecycle withr)

RLIB=$PWD/.Rlib
export R_LIBS=$RLIB

say()  { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# stamped NAME FILE... : is the stamp NAME newer than none of the FILEs' contents?
digest()  { cat "$@" | sha256sum | cut -d' ' -f1; }
stamped() { local name=$1; shift; [ "$(cat "$name" 2>/dev/null)" = "$(digest "$@")" ]; }
stamp()   { local name=$1; shift; digest "$@" > "$name"; }

# install_from_cran PACKAGE... : reticulate always, others where they are missing
install_from_cran() {
  Rscript -e 'wanted <- commandArgs(TRUE)' \
          -e 'wanted <- wanted[wanted == "reticulate" | !wanted %in% rownames(installed.packages())]' \
          -e 'if (identical(getOption("repos")[["CRAN"]], "@CRAN@")) chooseCRANmirror(ind = 1)' \
          -e 'options(timeout = 60)' \
          -e 'if (length(wanted)) install.packages(wanted, lib = Sys.getenv("R_LIBS"))' "$@"
}

# --- R and its packages, from Debian where apt is there, else from CRAN -------------------------

debian_packages() {
  printf '%s\n' r-base-core r-base-dev pandoc python3-dev python3-venv git chromium fonts-dejavu-core
  printf 'r-cran-%s\n' "${R_PACKAGES[@],,}" "${RETICULATE_NEEDS[@],,}"
}

missing_debian_packages() {
  comm -23 <(debian_packages | sort -u) \
           <(dpkg-query -W -f='${db:Status-Abbrev}${Package}\n' 2>/dev/null | sed -n 's/^ii //p' | sort -u)
}

install_r() {
  if have apt-get; then
    local missing
    missing=$(missing_debian_packages)
    [ -z "$missing" ] && return
    say "Installing from Debian: $(echo $missing)"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
  else
    have Rscript || { echo "kerasfit needs R 4.1 or newer: install it from your system's packages, then run this again." >&2; exit 1; }
    install_from_cran "${R_PACKAGES[@]}"
  fi
}

# --- reticulate: CRAN's where CRAN can be reached, else Debian trixie's source ------------------

reticulate_is_recent() {
  Rscript -e 'recent <- requireNamespace("reticulate", quietly = TRUE) &&' \
          -e '  packageVersion("reticulate") >= commandArgs(TRUE)' \
          -e 'quit(status = if (recent) 0 else 1)' "$RETICULATE_MINIMUM" >/dev/null 2>&1
}

reticulate_from_cran() {
  install_from_cran reticulate >/dev/null 2>&1
  reticulate_is_recent
}

# Debian 12 has 1.28, which cannot load NumPy 2. trixie's upstream tarball builds on Debian 12's R.
# Only the orig tarball is wanted, so apt's complaints about the rest of the source package are let pass.
reticulate_from_trixie() (
  have apt-get || return 1
  local work mirror
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/lists/partial"
  mirror=$(apt-get indextargets --format '$(SITE)' 'Origin: Debian' | grep -v security | head -1)
  echo "deb-src $mirror trixie main" > "$work/sources.list"
  chmod -R a+rX "$work"
  apt_trixie() { apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
                         -o Dir::State::Lists="$work/lists" -o APT::Sandbox::User="$(id -un)" "$@"; }
  apt_trixie update
  (cd "$work" && apt_trixie source --download-only r-cran-reticulate >/dev/null 2>&1) || true
  tar -xf "$work"/r-cran-reticulate_*.orig.tar.* -C "$work"
  R CMD INSTALL --library="$RLIB" --no-docs --no-test-load "$(dirname "$(ls -d "$work"/*/DESCRIPTION | head -1)")" > "$work/log" 2>&1 ||
    { cat "$work/log" >&2; return 1; }
  reticulate_is_recent
)

install_reticulate() {
  reticulate_is_recent && return
  say "Building reticulate $RETICULATE_MINIMUM or newer into .Rlib"
  reticulate_from_cran || reticulate_from_trixie ||
    { echo "reticulate $RETICULATE_MINIMUM or newer could not be installed, from CRAN or from Debian." >&2; exit 1; }
}

# --- Python -------------------------------------------------------------------------------------

install_python() {
  say "Installing Python packages into .venv"
  [ -x .venv/bin/python ] || python3 -m venv .venv
  .venv/bin/python -m pip install -q --disable-pip-version-check uv
  # pip's folder of local wheels, where there is one, holds a PyTorch without CUDA; elsewhere uv knows where to find it
  if [ -n "${PIP_FIND_LINKS:-}" ]; then export UV_FIND_LINKS=$PIP_FIND_LINKS; else export UV_TORCH_BACKEND=cpu; fi
  # rpy2 3.6 and newer look for symbols that R has had since 4.5
  local rpy2
  rpy2=$(Rscript -e 'cat(if (getRversion() >= "4.5") "rpy2" else "rpy2==3.5.17")')
  .venv/bin/uv pip install -q --compile-bytecode --python .venv/bin/python -e '.[tensorflow,jax,test]' torch==2.13.0 "$rpy2"
}

# --- kerasfit -----------------------------------------------------------------------------------

install_kerasfit() {
  say "Installing kerasfit into .Rlib"
  R CMD INSTALL --library="$RLIB" --no-test-load . > "$RLIB/kerasfit.log" 2>&1 || { cat "$RLIB/kerasfit.log" >&2; exit 1; }
}

mkdir -p "$RLIB"

stamped "$RLIB/.dependencies" tools/setup.sh && have Rscript ||
  { install_r; install_reticulate; stamp "$RLIB/.dependencies" tools/setup.sh; }

stamped .venv/.dependencies pyproject.toml ||
  { install_python; stamp .venv/.dependencies pyproject.toml; }

package_files() { find DESCRIPTION NAMESPACE R man inst/* python/kerasfit -type f -not -path '*/__pycache__/*' -not -path 'inst/doc/*' | LC_ALL=C sort; }
mapfile -t PACKAGE_FILES < <(package_files)
stamped "$RLIB/.kerasfit" "${PACKAGE_FILES[@]}" ||
  { install_kerasfit; stamp "$RLIB/.kerasfit" "${PACKAGE_FILES[@]}"; }
