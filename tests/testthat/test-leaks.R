# `make soak` runs a longer version.

skip_on_cran()
skip_unless_all()
skip_if_not_installed("callr")
skip_if_not(file.exists("/proc/self/status"), "only Linux tells what a process uses")

test_that("repeated calls of fit() do not leak memory, threads, file handles or connections", {
  script <- test_path("..", "soak", "leaks.R")
  skip_if_not(file.exists(script))
  said <- callr::rscript(
    script,
    c("150", "50", "50"),
    show = FALSE,
    fail_on_status = FALSE,
    env = c(callr::rcmd_safe_env(), session_backend)
  )
  cat("\n", utils::tail(strsplit(said$stdout, "\n")[[1]], 1), "\n")
  expect_identical(said$status, 0L, info = said$stderr)
})
