# R functions that generate batches.

#' Convert an R function that returns the next batch, or NULL at the end of a pass
#' @noRd
generator_to_core <- function(next_batch, label, call) {
  label <- paste0(label, "()")
  random_state <- NULL # of R before the last call of the function
  bridge$Generator(
    function() {
      random_state <<- r_random_state()
      data_to_core(run_user_code(next_batch()), label, call)
    },
    !can_return_null(next_batch),
    function() random_state
  )
}

#' Whether the code of a function can return NULL
#'
#' It can if it contains NULL, a `return()` or `invisible()` without arguments, or ends in a loop or
#' an `if` without `else`. Any other function is assumed never to end a pass, unless a function that
#' it calls does so.
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

#' Whether the last expression of a function can be empty: an `if` without `else`, a loop, an empty
#' body
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
