# ---- generators --------------------------------------------------------------------------------------------

#' An R function that makes batches: NULL ends a pass, an unnamed list at the top is (x, y, sample_weight)
#' @noRd
generator_to_core <- function(next_batch, label, call) {
  label <- paste0(label, "()")
  random_state <- NULL # that of R before the last call, which costs nothing to keep here
  bridge$Generator(
    function() {
      random_state <<- r_random_state()
      data_to_core(run_user_code(next_batch()), label, call)
    },
    !can_return_null(next_batch),
    function() random_state
  )
}

#' Whether a function's code has a way to return NULL
#'
#' It has if NULL is written anywhere in it, if it has a `return()` or `invisible()` with nothing in it, or if it
#' ends in an `if` without `else` or in a loop. A function that ends in some other way and calls no function
#' that does is one that never ends a pass.
#' @noRd
can_return_null <- function(f) {
  code <- body(f)
  mentions_null(code) || falls_through(code)
}

mentions_null <- function(code) {
  if (is.null(code)) {
    return(TRUE)
  }
  if (!is.call(code)) {
    return(FALSE)
  }
  if (
    is.symbol(code[[1]]) &&
      as.character(code[[1]]) %in% c("return", "invisible") &&
      length(code) == 1
  ) {
    return(TRUE)
  }
  if (identical(code[[1]], quote(`function`))) {
    return(FALSE)
  }
  for (i in seq_along(code)) {
    if (!identical(code[[i]], quote(expr = )) && mentions_null(code[[i]])) {
      return(TRUE)
    }
  }
  FALSE
}

#' Whether a function's last expression may be none: an `if` without `else`, a loop, an empty body
#' @noRd
falls_through <- function(code) {
  if (!is.call(code) || !is.symbol(code[[1]])) {
    return(FALSE)
  }
  switch(
    as.character(code[[1]]),
    `{` = length(code) == 1 || falls_through(code[[length(code)]]),
    `if` = length(code) == 3 || falls_through(code[[3]]) || falls_through(code[[4]]),
    `for` = ,
    `while` = TRUE,
    FALSE
  )
}
