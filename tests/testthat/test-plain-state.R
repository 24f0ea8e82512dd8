skip_on_cran()

#' Convert a value for storage and back
stored_and_read <- function(value) {
  kerasfit:::state_from_core(kerasfit:::state_to_core(value, "x"))
}

test_that("plain R values are restored from a stored state unchanged", {
  values <- list(
    NULL,
    TRUE,
    NA,
    c(a = 1L, b = NA),
    integer(),
    double(),
    character(),
    list(),
    1.5,
    c(NA, NaN, Inf, -0, 1e-310, pi),
    1i,
    c(1 + 2i, NA),
    as.raw(0:255),
    raw(),
    c("a", NA, "\u00e4", ""),
    "",
    matrix(1:6, 2, dimnames = list(NULL, c("x", "y", "z"))),
    array(0, c(2, 0, 3)),
    factor(c("b", NA, "a"), levels = c("b", "a")),
    iris[c(1, 51), ],
    data.frame(),
    Sys.Date(),
    as.POSIXct("2026-01-01", "UTC"),
    as.difftime(2, units = "mins"),
    list(a = 1, list(b = "c", NULL), `NA` = list()),
    table(c(1, 1, 2)),
    structure(list(1), class = c("own", "list"), extra = list(more = 1L)),
    structure(1:2, class = "integer64")
  )
  if (requireNamespace("bit64", quietly = TRUE)) {
    values <- c(values, list(bit64::as.integer64(c(1, NA, 2^40))))
  }
  for (value in values) {
    expect_identical(stored_and_read(value), value)
  }
  expect_identical(
    is.na(stored_and_read(c(NA_real_, NaN))) & !is.nan(stored_and_read(c(NA_real_, NaN))),
    c(TRUE, FALSE)
  )
  latin <- iconv("\u00e4", "UTF-8", "latin1")
  expect_identical(stored_and_read(latin), latin)
})

test_that("values that could run code cannot be stored, and the error names the element", {
  refused <- function(value, where, what) {
    told <- paste0("The state of x cannot be saved: ", where, " is ", what)
    expect_error(stored_and_read(value), told, class = "kerasfit_error_argument", fixed = TRUE)
  }
  refused(list(a = 1, f = mean), "its element f", "a function")
  refused(list(1, list(new.env())), "its element [[2]][[1]]", "an environment")
  refused(quote(a + b), "it", "of type language")
  refused(list(layer = keras$layers$Dense(1L)), "its element layer", "a Python object")
  refused(structure(1, note = sum), "its element @note", "a function")
  refused(y ~ x, "it", "of type language")
  refused(expression(a), "it", "of type expression")
  refused(methods::getClass("numeric"), "it", "of type S4")
})

test_that("R's random state is stored as integers and restored only if valid", {
  withr::local_preserve_seed()
  for (kind in c("Mersenne-Twister", "Wichmann-Hill", "L'Ecuyer-CMRG", "Knuth-TAOCP-2002")) {
    set.seed(1, kind = kind)
    state <- kerasfit:::r_random_state()
    expected <- runif(3)
    expect_true(kerasfit:::set_r_random_state(state))
    expect_identical(runif(3), expected)
  }
  set.seed(1, kind = "Mersenne-Twister")
  before <- .Random.seed
  for (state in list(
    c(10403L, 1L),
    integer(),
    "a",
    c(before, 1L),
    as.double(before),
    replace(before, 1, 10499L),
    replace(before, 1, NA),
    list(1L),
    quote(stop())
  )) {
    expect_false(kerasfit:::set_r_random_state(state))
    expect_identical(.Random.seed, before)
  }
})
