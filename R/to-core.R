# R values as the core takes them: numpy arrays, pandas categoricals, lists and dicts of them. Only what R alone
# can know is decided here; what the values mean is the core's to say.

#' Data as the core takes it
#'
#' @param label What errors call the value: x, x$a, validation_data[[2]].
#' @noRd
data_to_core <- function(value, label, call) {
  if (is.null(value)) {
    value
  } else if (reticulate::is_py_object(value)) {
    check_alive(value, label, call)
  } else if (is.atomic(value) && !is.object(value)) {
    atomic_to_core(value, label, call)
  } else if (is.function(value)) {
    generator_to_core(value, label, call)
  } else if (is.factor(value)) {
    bridge$factor(array_to_core(as.integer(value)), as.list(levels(value)))
  } else if (is.data.frame(value)) {
    data_frame_to_core(value, label, call)
  } else if (inherits(value, "ArrowTabular")) {
    data_to_core(as.data.frame(value), label, call)
  } else if (inherits(value, "sparseMatrix")) {
    sparse_to_core(value, call)
  } else if (inherits(value, c("Date", "POSIXt", "difftime"))) {
    refuse_object(
      value,
      label,
      "Give numbers, for example `as.numeric()` of it, on a scale that suits training.",
      call
    )
  } else if (inherits(value, "integer64")) {
    data_to_core(plain_numbers(value), label, call)
  } else if (is.list(value) && !is.object(value)) {
    if (!all(nzchar(names(value)))) {
      abort_argument(
        argument_of(label),
        sprintf("`%s` is a list with some elements named and others not.", label),
        call
      )
    }
    labels <- if (is.null(names(value))) {
      sprintf("%s[[%d]]", label, seq_along(value))
    } else {
      paste0(label, "$", names(value))
    }
    list_to_core(Map(function(element, label) data_to_core(element, label, call), value, labels))
  } else if (!is.null(plain <- without_class(value))) {
    data_to_core(plain, label, call)
  } else {
    refuse_object(
      value,
      label,
      paste(
        "Give an ordinary vector, matrix or array, which `as.matrix()` or `as.numeric()` may make of it, or a list of them."
      ),
      call
    )
  }
}

#' What an object of some class holds where that is a vector, matrix or array: of a table, a time series, `I()`, a matrix of
#' the package Matrix and so on
#' @return NULL if it is something else.
#' @noRd
without_class <- function(value) {
  if (inherits(value, "AsIs")) {
    structure(value, class = setdiff(class(value), "AsIs"))
  } else if (inherits(value, "Matrix")) {
    as.matrix(value)
  } else if (inherits(value, "sparseVector")) {
    as.vector(value)
  } else if (is.atomic(value) && !isS4(value) && !inherits(value, "dist")) {
    # what is S4 may keep something else in numbers
    dim <- dim(value)
    attributes(value) <- NULL
    if (is.null(dim)) value else array(value, dim)
  }
}

#' A value with 64-bit integers, as of the package bit64, as doubles; also those in a list
#'
#' R keeps them as the bits of doubles that mean something else. Integers beyond 2^53 are rounded.
#' @noRd
plain_numbers <- function(value) {
  if (inherits(value, "integer64")) {
    doubles <- doubles_of_bits(value)
    attributes(doubles) <- attributes(value)[intersect(
      names(attributes(value)),
      c("names", "dim", "dimnames")
    )]
    doubles
  } else if (is.list(value) && !is.object(value)) {
    lapply(value, plain_numbers)
  } else {
    value
  }
}

#' @rawNamespace S3method(reticulate::r_to_py, integer64)
r_to_py.integer64 <- function(x, convert = FALSE) reticulate::r_to_py(plain_numbers(x), convert)

doubles_of_bits <- function(value) {
  bits <- writeBin(as.double(unclass(value)), raw(), endian = "little")
  halves <- matrix(
    as.double(readBin(bits, "integer", 2 * length(value), endian = "little")),
    nrow = 2
  )
  is_missing <- is.na(halves[2, ]) & !is.na(halves[1, ]) & halves[1, ] == 0
  halves[is.na(halves)] <- -2^31 # whose bits are those of NA
  low <- ifelse(halves[1, ] < 0, halves[1, ] + 2^32, halves[1, ])
  ifelse(is_missing, NA, halves[2, ] * 2^32 + low)
}

#' A vector, matrix or array without a class
#' @noRd
atomic_to_core <- function(value, label, call) {
  if (is.complex(value)) {
    refuse_object(value, label, "Give numbers, for example `Mod()` of it.", call)
  }
  if (is.null(dim(value)) && length(value) > .Machine$integer.max) {
    abort_kerasfit(
      c(
        sprintf(
          "`%s` has %.0f values, and a vector of R can have %d rows.",
          label,
          length(value),
          .Machine$integer.max
        ),
        i = "Give a generator, a dataset, or an array of numpy's."
      ),
      "data",
      call,
      argument = argument_of(label)
    )
  }
  if (!is.double(value)) {
    check_missing(value, label, call)
  }
  if (is.raw(value)) {
    storage.mode(value) <- "integer"
  }
  array_to_core(value)
}

#' A sparse matrix of the package Matrix as one of scipy's
#' @noRd
sparse_to_core <- function(value, call) {
  if (!reticulate::py_module_available("scipy")) {
    abort_kerasfit(
      c(
        "Sparse matrices need the Python package scipy.",
        i = 'In a new session: `reticulate::py_require("scipy")` before Keras loads.'
      ),
      "state",
      call
    )
  }
  value <- methods::as(methods::as(methods::as(value, "dMatrix"), "generalMatrix"), "CsparseMatrix")
  bridge$sparse_matrix(
    array_to_core(value@x),
    array_to_core(value@i),
    array_to_core(value@p),
    as.list(dim(value))
  )
}

#' A data frame as a pandas data frame, whose columns share R's memory
#' @noRd
data_frame_to_core <- function(value, label, call) {
  columns <- stats::setNames(as.list(value), names(value))
  matrices <- list()
  if (any(vapply(columns, function(column) length(dim(column)) > 0, NA))) {
    apart <- Map(columns_of_matrix, columns, names(columns), label, list(call))
    matrices <- lapply(apart[lengths(apart) > 1], function(parts) as.list(names(parts)))
    columns <- do.call(c, unname(apart))
  }
  names <- names(columns)
  if (anyDuplicated(names)) {
    twice <- names[anyDuplicated(names)]
    abort_argument(
      argument_of(label),
      sprintf("`%s` has two columns of the name `%s`.", label, twice),
      call
    )
  }
  check_missing_in_columns(value, label, call)
  converted <- Map(
    function(column, name) column_to_core(column, paste0(label, "$", name), call),
    unname(columns),
    names
  )
  bridge$data_frame(
    reticulate::r_to_py(as.list(names)),
    reticulate::r_to_py(unname(converted)),
    nrow(value),
    list_to_core(matrices)
  )
}

column_to_core <- function(column, label, call) {
  if (inherits(column, "AsIs")) {
    column <- without_class(column)
  }
  if (is.list(column) && !is.object(column)) {
    hint <- "If they are sequences, `keras$utils$pad_sequences(lapply(%s, as.list), dtype = \"float32\")` makes a matrix of them."
    refuse_object(column, label, sprintf(hint, label), call)
  }
  data_to_core(column, label, call)
}

#' A column of a data frame as a list of columns, which a matrix has several of, named as by `as.matrix()`
#' @noRd
columns_of_matrix <- function(column, name, label, call) {
  if (is.null(dim(column))) {
    return(stats::setNames(list(column), name))
  }
  if (length(dim(column)) > 2 || is.data.frame(column)) {
    refuse_object(column, paste0(label, "$", name), "Give a column for each of its parts.", call)
  }
  if (length(dim(column)) == 1) {
    return(stats::setNames(list(as.vector(column)), name))
  }
  parts <- lapply(seq_len(ncol(column)), function(i) column[, i])
  if (ncol(column) == 1) {
    return(stats::setNames(parts, name))
  } # such as scale() gives
  stats::setNames(parts, paste(name, colnames(column) %||% seq_len(ncol(column)), sep = "."))
}

#' An atomic vector or array as a numpy array: a view of R's memory, not a copy
#' @noRd
array_to_core <- function(value) {
  if (is.null(dim(value))) {
    dim(value) <- length(value)
  }
  reticulate::r_to_py(value)
}

#' An object of Python's, unless it came with a saved workspace, from `readRDS()` or from another process
#' @noRd
check_alive <- function(value, label, call, hint = "Make it anew in this session.") {
  if (reticulate::py_is_null_xptr(value)) {
    abort_argument(
      argument_of(label),
      sprintf(
        "`%s` belongs to another R session: R does not save or send what Python holds.",
        label
      ),
      call,
      hint
    )
  }
  value
}

#' A model, unless it is of another session
#' @noRd
check_model <- function(object, call) {
  check_process(call)
  check_alive(
    object,
    "object",
    call,
    paste(
      'A model is saved by `model$save("model.keras")` there, and comes back by `keras$models$load_model("model.keras")` here.'
    )
  )
}

check_missing <- function(value, label, call) {
  if (anyNA(value)) {
    missing <- sum(is.na(value))
    abort_kerasfit(
      c(
        sprintf("`%s` has %d missing %s.", label, missing, if (missing == 1) "value" else "values"),
        i = "Leave out or impute what is missing."
      ),
      "data",
      call,
      argument = argument_of(label)
    )
  }
}

#' Count the missing values of all columns, if one has some that Python would not have; else the core finds them
#' @noRd
check_missing_in_columns <- function(frame, label, call) {
  columns <- Filter(is.atomic, as.list(frame))
  if (!any(vapply(columns, function(column) !is.double(column) && anyNA(column), NA))) {
    return(invisible())
  }
  if (isTRUE(getOption("kerasfit.allow_missing"))) {
    columns <- Filter(Negate(is.double), columns)
  }
  missing <- vapply(columns, function(column) sum(is.na(column)), 0L)
  missing <- missing[missing > 0]
  if (length(missing) == 1) {
    check_missing(columns[[names(missing)]], paste0(label, "$", names(missing)), call)
  }
  abort_kerasfit(
    c(
      sprintf("`%s` has missing values in %s.", label, in_columns(missing)),
      i = "Leave out or impute what is missing."
    ),
    "data",
    call,
    argument = argument_of(label)
  )
}

#' Columns with the number of something in each: "the columns `a` (2) and `b` (1)"
#' @noRd
in_columns <- function(counts) {
  words <- sprintf("`%s` (%d)", names(counts), counts)
  last <- length(words)
  paste("the columns", paste(paste(words[-last], collapse = ", "), "and", words[last]))
}

refuse_object <- function(value, label, hint, call) {
  class <- if (is.atomic(value) && !is.object(value)) typeof(value) else class(value)[[1]]
  abort_kerasfit(
    c(
      sprintf("`%s` is an object of class %s, which cannot be trained on as it is.", label, class),
      i = hint
    ),
    "data",
    call,
    argument = argument_of(label)
  )
}

argument_of <- function(label) sub("^(\\w+).*$", "\\1", label)

# ---- generators --------------------------------------------------------------------------------------------

#' An R function that makes batches: NULL ends a pass, an unnamed list at the top is (x, y, sample_weight)
#' @noRd
generator_to_core <- function(next_batch, label, call) {
  label <- paste0(label, "()")
  random_state <- NULL # that of R before the last call, which costs nothing to keep here
  bridge$Generator(
    function() {
      random_state <<- r_random_state()
      data_to_core(user_code(next_batch()), label, call)
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

# ---- other arguments ---------------------------------------------------------------------------------------

#' A scalar argument; the core says whether it is the right one
#' @noRd
scalar_to_core <- function(value, argument, call) {
  value <- plain_numbers(value)
  if (is.atomic(value) && !is.null(value) && anyNA(value)) {
    abort_argument(argument, sprintf("`%s` must not be NA.", argument), call)
  }
  if (is.list(value) || length(value) > 1 || is.null(value)) {
    return(reticulate::r_to_py(value))
  }
  reticulate::r_to_py(if (is.atomic(value)) unname(value) else value)
}

#' Class weights: a named list or vector, or a named list of those
#' @noRd
class_weight_to_core <- function(value, call) {
  if (is.null(value) || reticulate::is_py_object(value)) {
    return(value)
  }
  value <- plain_numbers(value)
  if (anyDuplicated(names(value))) {
    name <- names(value)[duplicated(names(value))][[1]]
    abort_argument("class_weight", sprintf('`class_weight` names "%s" more than once.', name), call)
  }
  value <- lapply(as.list(value), function(weight) {
    if (is.list(weight) || !is.null(names(weight))) {
      class_weight_to_core(weight, call)
    } else {
      reticulate::r_to_py(weight)
    }
  })
  list_to_core(value)
}

#' A list, or if it has names a dict, whose names are not in R's native encoding as reticulate's are
#' @noRd
list_to_core <- function(value) {
  if (is.null(names(value))) {
    return(reticulate::r_to_py(value))
  }
  bridge$named(reticulate::r_to_py(as.list(names(value))), reticulate::r_to_py(unname(value)))
}

#' A list whose names have letters beyond ASCII as a dict with these; any other value as it is
#' @noRd
names_to_core <- function(value) {
  if (!is.list(value) || is.object(value)) {
    return(value)
  }
  value <- lapply(value, names_to_core)
  if (!any(grepl("[^ -~]", names(value), useBytes = TRUE))) {
    return(value)
  }
  list_to_core(lapply(value, reticulate::r_to_py, convert = TRUE))
}

#' A callback, or a list of callbacks; a function by the name of a hook is one too
#' @param position Where it is in a list, and under which name.
#' @noRd
callbacks_to_core <- function(value, call, position = 1, name = "") {
  if (is_r_callback(value)) {
    check_alive(value$.__enclos_env__$private$.class, "callbacks", call)
    begin_callback(value)
  } else if (reticulate::is_py_object(value)) {
    check_alive(value, "callbacks", call)
  } else if (is.list(value)) {
    names <- rlang::names2(value)
    if (any(vapply(value, is.function, NA)) && all(names %in% names(callback_hooks))) {
      return(functions_to_core(value))
    }
    reticulate::r_to_py(lapply(seq_along(value), function(i) {
      callbacks_to_core(value[[i]], call, i, names[[i]])
    }))
  } else if (is.function(value) && nzchar(name) && !inherits(value, "kerasfit_callback_class")) {
    functions_to_core(stats::setNames(list(value), name))
  } else if (is.function(value) || is.environment(value)) {
    refuse_callback(value, call, position)
  } else {
    value
  }
}

#' Say what is not a callback, and what would be one
#' @noRd
refuse_callback <- function(value, call, position) {
  is_class <- inherits(value, c("kerasfit_callback_class", "R6ClassGenerator"))
  hint <- if (is_class) {
    "Call it, to make a callback of the class."
  } else if (is.function(value)) {
    "Name a function by its hook, `list(on_epoch_end = function(epoch, logs) ...)`; call one that makes callbacks."
  } else {
    "`Callback()` makes classes of callbacks, and callbacks may be functions by the names of hooks."
  }
  what <- paste("an object of class", class(value)[[1]])
  if (is.function(value)) {
    what <- "a function without a name"
  }
  if (is_class) {
    what <- "a class"
  }
  abort_argument(
    "callbacks",
    sprintf("Element %d of `callbacks` is no callback but %s.", position, what),
    call,
    hint
  )
}

#' Functions by the names of hooks, each called with those of a hook's arguments that it has
#' @noRd
functions_to_core <- function(hooks) {
  functions <- Map(
    function(f, name) {
      known <- is.function(f) && name %in% names(callback_hooks)
      if (known) hook_to_core(f, callback_hooks[[name]]) else reticulate::r_to_py(f)
    },
    hooks,
    names(hooks)
  )
  reticulate::dict(functions, convert = FALSE)
}

#' "auto" is one line for each epoch inside knitr, where a bar cannot move
#' @noRd
verbose_to_core <- function(verbose, call) {
  if (identical(verbose, "auto") && isTRUE(getOption("knitr.in.progress"))) {
    2L
  } else {
    scalar_to_core(verbose, "verbose", call)
  }
}

#' Warn, once for each document, that knitr keeps the results of a chunk but not what the model has learnt
#' @noRd
warn_of_cached_chunk <- function(call) {
  if (!isTRUE(getOption("knitr.in.progress")) || !is_cached_chunk()) {
    return(invisible())
  }
  document <- knitr::current_input(dir = TRUE) %||% ""
  if (document %in% cached_documents$warned) {
    return(invisible())
  }
  cached_documents$warned <- c(cached_documents$warned, document)
  warn_kerasfit(
    call = call,
    c(
      "This chunk is cached: when the document is rendered again, knitr restores R's values, but the model will not be trained.",
      i = paste(
        "Give chunks that train `cache = FALSE`. Or save the model in this chunk, `model$save(\"model.keras\")`, and load it in one",
        "that is not cached, `model <- keras$models$load_model(\"model.keras\")`."
      )
    )
  )
}

is_cached_chunk <- function() {
  cache <- knitr::opts_current$get("cache")
  isTRUE(cache) || is.numeric(cache) && isTRUE(cache > 0)
}

cached_documents <- new.env(parent = emptyenv())

#' How the core is to run steps, an option because it is never needed for a right result
#' @noRd
plan_to_core <- function(call) {
  scalar_to_core(getOption("kerasfit.plan", default = "auto"), "kerasfit.plan", call)
}

#' Whether layers may compute with faster functions in the place of Keras's, an option to find out whether these are at fault
#' @noRd
kernels_to_core <- function(call) {
  wanted <- !tolower(Sys.getenv("KERASFIT_KERNELS")) %in% c("0", "false", "no", "off")
  kernels <- getOption("kerasfit.kernels", default = wanted)
  if (!isTRUE(kernels) && !isFALSE(kernels)) {
    message <- sprintf(
      "`options(kerasfit.kernels = )` must be TRUE or FALSE, not %s.",
      describe(kernels)
    )
    abort_argument("kerasfit.kernels", message, call)
  }
  kernels
}

#' Whether data may have missing and infinite values, an option because few models can do with them
#' @noRd
allow_missing_to_core <- function(call) {
  scalar_to_core(
    getOption("kerasfit.allow_missing", default = FALSE),
    "kerasfit.allow_missing",
    call
  )
}

#' The path of a file or folder, which Python opens under the same name
#' @noRd
path_to_core <- function(path, argument, call) {
  if (!can_be_path(path)) {
    abort_argument(
      argument,
      sprintf(
        "`%s` is a path with letters that the session's locale, %s, does not have: %s.",
        argument,
        Sys.getlocale("LC_CTYPE"),
        dQuote(iconv(path, "UTF-8", "ASCII", sub = "Unicode"), FALSE)
      ),
      call,
      "Start R in a UTF-8 locale, with the environment variable LC_ALL=C.UTF-8 for example, or give another path."
    )
  }
  path.expand(path)
}

#' Whether a path means the same for R, Python and the file system
#'
#' In the C locale, R gives bytes that are no ASCII to Python as text such as "<c3><bc>", and Python cannot use other letters.
#' @noRd
can_be_path <- function(path) {
  is_ascii <- function(text) all(charToRaw(text) < 128)
  text <- enc2utf8(path)
  is_ascii(path) || !is_ascii(text) && identical(enc2utf8(enc2native(text)), text)
}
