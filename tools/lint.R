# Lints all R code, with the linters in .lintr, and fails if they find anything.
# Most of the time goes to parsing, so files known to be clean are skipped until they change.

folders <- c("R", "tests", "tools", "inst/examples")
clean_file <- "build/lintr-clean.rds"

files <- dir(folders, pattern = "[.]R$", full.names = TRUE, recursive = TRUE)
settings <- tools::md5sum(".lintr")
sums <- paste(tools::md5sum(files), settings, utils::packageVersion("lintr"))
clean <- if (file.exists(clean_file)) readRDS(clean_file)

pending <- !sums %in% clean
lints <- lapply(files[pending], lintr::lint)
is_clean <- lengths(lints) == 0

dir.create(dirname(clean_file), showWarnings = FALSE)
saveRDS(c(sums[!pending], sums[pending][is_clean]), clean_file)
for (found in lints[!is_clean]) {
  print(found)
}
quit(status = as.integer(!all(is_clean)))
