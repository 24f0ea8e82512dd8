core_report <- function(...) {
  utils::modifyList(
    list(
      python = list(version = "3.11.2", executable = "/usr/bin/python3"),
      packages = list(keras = "3.12.0", numpy = "2.1.0", pandas = "2.2.0"),
      backends = list(jax = "0.6.1"),
      backend = "jax",
      devices = "CPU:0",
      nvidia = character(),
      cores = 4L,
      threads = NULL,
      programs = list(folder = NULL, number = 0L, bytes = 0L, refusal = NULL),
      variables = list()
    ),
    list(...)
  )
}

test_that("kerasfit_sitrep() reports versions, backend, devices and no problems", {
  skip_on_cran()
  report <- kerasfit_sitrep()
  expect_s3_class(report, "kerasfit_sitrep")
  expect_identical(report$core$backend, keras$backend$backend())
  expect_identical(report$core$packages$keras, keras$`__version__`)
  expect_identical(report$r$packages$kerasfit, as.character(packageVersion("kerasfit")))
  expect_match(report$core$devices, "CPU", all = FALSE)
  expect_gte(report$core$cores, 1)
  text <- paste(capture.output(print(report)), collapse = "\n")
  expect_match(text, paste0("Backend: +", keras$backend$backend()))
  expect_match(text, "No problems found.", fixed = TRUE)
})

test_that("kerasfit_sitrep() says what to do about a GPU that is not used", {
  gpu <- "NVIDIA H200, 143771 MiB, 550.1"
  expect_null(unused_gpu(core_report()))
  expect_null(unused_gpu(core_report(nvidia = gpu, devices = c("GPU:0 (NVIDIA H200)", "CPU:0"))))
  missing <- unused_gpu(core_report(nvidia = gpu), "Linux")[[1]]
  expect_match(missing$remedy, 'install_kerasfit(backend = "jax", device = "gpu")', fixed = TRUE)
  hidden <- core_report(nvidia = gpu, variables = list(JAX_PLATFORMS = "cpu"))
  expect_match(unused_gpu(hidden, "Linux")[[1]]$remedy, "hidden by JAX_PLATFORMS")
  expect_match(unused_gpu(core_report(nvidia = gpu), "Windows")[[1]]$remedy, "WSL2")
})

test_that("kerasfit_sitrep() finds packages that are too old", {
  expect_null(unlist(old_packages(core_report())))
  old <- core_report(packages = list(keras = "3.4.1"), backends = list(jax = "0.4.30"))
  problems <- do.call(rbind, old_packages(old))
  expect_match(problems$problem, "keras is version 3.4.1", fixed = TRUE, all = FALSE)
  expect_match(
    problems$remedy,
    "0.5.3 or later: `install_kerasfit(backend = \"jax\")`",
    fixed = TRUE,
    all = FALSE
  )
  expect_null(unlist(old_packages(core_report(backends = list(jax = "0.6.1.dev3+cpu")))))
})

test_that("kerasfit_sitrep() reports why Keras cannot be loaded", {
  skip_on_cran()
  skip_if_not_installed("callr")
  text <- in_new_session(
    function() {
      library(kerasfit)
      capture.output(print(kerasfit_sitrep()))
    },
    c(KERAS_BACKEND = "abacus")
  )
  text <- paste(text, collapse = "\n")
  expect_match(
    text,
    "Problems:\n* Keras cannot be loaded with the backend \"abacus\"",
    fixed = TRUE
  )
  expect_match(text, "Install the packages with `install_kerasfit()`", fixed = TRUE)
})
