# R values in the state of a callback, stored as pure data that cannot run code.

#' Convert a plain R value for storage: its type, its elements, and its attributes
#'
#' Vectors, lists, factors, data frames, dates and other values made of vectors and plain attributes
#' can be stored. Functions, environments, language, pointers and S4 objects cannot.
#' @param owner What the value is the state of, for error messages.
#' @param element The element in it, for error messages; "" for the whole value.
#' @return A Python list.
#' @noRd
state_to_core <- function(value, owner, element = "") {
  if (isS4(value) || reticulate::is_py_object(value)) {
    abort_unsupported_state(value, owner, element)
  }
  # methods of its class, such as those of bit64, may convert it; an environment cannot be unclassed
  plain <- if (is.atomic(value) || is.list(value)) unclass(value)
  elements <- switch(
    typeof(value),
    "NULL" = NULL,
    logical = ,
    integer = array(as.integer(plain)),
    double = array(as.double(plain)),
    complex = array(as.complex(plain)),
    character = lapply(enc2utf8(as.vector(plain)), function(string) if (!is.na(string)) string),
    raw = array(as.integer(plain)),
    list = elements_to_core(plain, owner, element),
    abort_unsupported_state(value, owner, element)
  )
  attributes <- attributes(value)
  parts <- list(
    typeof(value),
    reticulate::r_to_py(elements),
    as.list(names(attributes)),
    elements_to_core(attributes, owner, paste0(element, "@"))
  )
  reticulate::r_to_py(lapply(parts, reticulate::r_to_py))
}

elements_to_core <- function(values, owner, within) {
  names <- rlang::names2(values)
  joint <- if (!nzchar(within) || endsWith(within, "@")) "" else "$"
  elements <- paste0(
    within,
    ifelse(nzchar(names), paste0(joint, names), sprintf("[[%d]]", seq_along(values)))
  )
  reticulate::r_to_py(unname(Map(state_to_core, values, owner, elements)))
}

abort_unsupported_state <- function(value, owner, element) {
  what <- if (reticulate::is_py_object(value)) {
    "a Python object"
  } else if (is.function(value)) {
    "a function"
  } else if (is.environment(value)) {
    "an environment"
  } else {
    sprintf("of type %s", typeof(value))
  }
  abort_argument(
    "callbacks",
    sprintf(
      "The state of %s cannot be saved: %s is %s.",
      owner,
      if (nzchar(element)) paste("its element", element) else "it",
      what
    ),
    NULL,
    hint = "`get_state()` must return vectors, lists, factors or data frames."
  )
}

#' Restore the R value that was given to `state_to_core()`
#' @param state A Python list.
#' @noRd
state_from_core <- function(state) {
  parts <- reticulate::iterate(state, simplify = FALSE)
  type <- reticulate::py_to_r(parts[[1]])
  value <- elements_from_core(parts[[2]], type)
  names <- as.character(unlist(reticulate::py_to_r(parts[[3]])))
  if (length(names)) {
    attributes(value) <- stats::setNames(
      lapply(reticulate::iterate(parts[[4]], simplify = FALSE), state_from_core),
      names
    )
  }
  value
}

elements_from_core <- function(elements, type) {
  vector_of <- function(type) {
    value <- as.vector(reticulate::py_to_r(elements))
    if (typeof(value) != type) {
      stop("The elements are of type ", typeof(value), ", not ", type, ".")
    }
    value
  }
  switch(
    type,
    "NULL" = NULL,
    logical = as.logical(vector_of("integer")),
    raw = as.raw(vector_of("integer")),
    integer = ,
    double = ,
    complex = vector_of(type),
    character = vapply(
      reticulate::iterate(elements, simplify = FALSE),
      function(string) reticulate::py_to_r(string) %||% NA_character_,
      ""
    ),
    list = lapply(reticulate::iterate(elements, simplify = FALSE), state_from_core),
    stop("There are no values of type ", type, ".")
  )
}

#' The state of R's random generator: `.Random.seed`, or NULL if it was not used yet
#' @noRd
r_random_state <- function() {
  seed <- get0(".Random.seed", globalenv(), inherits = FALSE)
  if (is.integer(seed)) seed
}

#' Set the state of R's random generator
#' @return Whether the state was valid: integers, as many as the generator named by the first one
#'   needs.
#' @noRd
set_r_random_state <- function(state) {
  seed <- as.vector(state)
  if (!is.integer(seed) || !length(seed) || is.na(seed[1]) || seed[1] < 0L) {
    return(FALSE)
  }
  # the first integer encodes the kinds of generator, normal numbers and samples, see ?RNGkind
  kinds <- c(seed[1] %% 100L, seed[1] %/% 100L %% 100L, seed[1] %/% 10000L)
  sizes <- c(4L, 3L, 3L, 626L, 102L, NA, 102L, 7L)
  size <- sizes[kinds[1] + 1L]
  is_state <- all(kinds <= c(7L, 5L, 1L)) && (is.na(size) || length(seed) == size)
  if (is_state) {
    assign(".Random.seed", seed, globalenv())
  }
  is_state
}
