#!/usr/bin/env bash
# Fails if help pages, NAMESPACE or vignettes are not those that their sources make. Its argument is a copy of the package.
set -euo pipefail
cd "$1"
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -R NAMESPACE man "$copy"
Rscript - <<'R'
note <- read.dcf("DESCRIPTION", "RoxygenNote")[[1]]
if (packageVersion("roxygen2") == note) {
  roxygen2::roxygenise(load_code = "source")
} else {
  message("man/ is not compared: it was made by roxygen2 ", note, ", and here is ", packageVersion("roxygen2"), ".")
}
R
diff -r "$copy/man" man && diff "$copy/NAMESPACE" NAMESPACE || { echo "\`make docs\` must be run." >&2; exit 1; }
Rscript tools/vignettes.R --check
