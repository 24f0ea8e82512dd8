#' Set all random seeds
#'
#' Seeds R, Python, numpy and the backend, so that initial weights, the order of the samples and
#' dropout repeat from run to run. `set.seed()` alone does not seed Python.
#'
#' @param seed A whole number, at least 0 and less than 2^31.
#' @return `seed`, invisibly.
#' @examplesIf kerasfit:::has_keras()
#' set_random_seed(1)
#' keras$random$normal(list(2L))
#' set_random_seed(1)
#' keras$random$normal(list(2L))
#' @export
set_random_seed <- function(seed) {
  given <- seed
  seed <- check_seed(seed)
  set.seed(seed)
  bridge$set_random_seed(seed)
  invisible(given)
}

#' Check a seed
#' @return The seed as an integer.
#' @noRd
check_seed <- function(seed, call = rlang::caller_call()) {
  seed <- plain_numbers(seed)
  if (!is_whole(seed) || length(seed) != 1 || seed < 0 || seed > .Machine$integer.max) {
    abort_argument(
      "seed",
      sprintf(
        "`seed` must be a whole number, at least 0 and less than 2^31, not %s.",
        describe(seed)
      ),
      call
    )
  }
  as.integer(seed)
}
