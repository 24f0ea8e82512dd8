# The rows that each fit of a cross-validation leaves out.

#' Make folds from the argument `folds` of `cross_validate()`
#' @param rows The number of rows.
#' @return A data frame with the columns `repeat`, `fold`, and `held_out` and `inside`, lists of the
#'   row numbers to evaluate and to train on.
#' @noRd
make_folds <- function(folds, repeats, rows, y, groups, call) {
  table <- fold_rows(folds, repeats, rows, y, groups, call)
  if (is.null(table$inside)) {
    table$inside <- lapply(table$held_out, function(some) setdiff(seq_len(rows), some))
  }
  if (!all(lengths(table$inside))) {
    abort_argument("folds", "`folds` must leave rows to train on in each fit.", call)
  }
  table
}

fold_rows <- function(folds, repeats, rows, y, groups, call) {
  if (length(folds) != 1 || is.list(folds)) {
    applies <- "`%s` applies only if `folds` is a number."
    if (!is.null(groups)) {
      abort_argument("groups", sprintf(applies, "groups"), call)
    }
    if (!identical(as.numeric(repeats), 1)) {
      abort_argument("repeats", sprintf(applies, "repeats"), call)
    }
  }
  if (inherits(folds, "rset")) {
    return(folds_of_rset(folds, rows, call))
  }
  if (is.list(folds)) {
    held_out <- lapply(unname(folds), function(some) unique(check_rows(some, rows, call)))
    return(fold_table(rep(1L, length(held_out)), names(folds) %||% seq_along(held_out), held_out))
  }
  folds <- plain_numbers(folds)
  if (length(folds) != 1) {
    if (length(folds) != rows) {
      abort_argument(
        "folds",
        sprintf("`folds` must have a value for each of the %d rows, not %d.", rows, length(folds)),
        call
      )
    }
    held_out <- split(seq_len(rows), folds)
    return(fold_table(rep(1L, length(held_out)), names(held_out), unname(held_out)))
  }
  if (anyNA(groups)) {
    abort_argument("groups", "`groups` must not have missing values.", call)
  }
  units <- if (is.null(groups)) rows else length(unique(groups))
  if (!is_whole(folds) || folds < 2 || folds > units) {
    abort_argument(
      "folds",
      sprintf(
        "`folds` must be a whole number between 2 and the number of %s, %d, not %s.",
        if (is.null(groups)) "rows" else "groups",
        units,
        describe(folds)
      ),
      call,
      "Or the fold of each row, a list of the rows to leave out, or an object of rsample."
    )
  }
  if (!is_whole(repeats) || length(repeats) != 1 || repeats < 1) {
    abort_argument(
      "repeats",
      sprintf("`repeats` must be a whole number, at least 1, not %s.", describe(repeats)),
      call
    )
  }
  each <- lapply(seq_len(repeats), function(i) {
    numbers <- if (is.null(groups)) {
      random_folds(folds, rows, if (is_classes(y)) y)
    } else {
      grouped_folds(folds, groups)
    }
    fold_table(rep(i, folds), seq_len(folds), unname(split(seq_len(rows), numbers)))
  })
  do.call(rbind, each)
}

fold_table <- function(repeats, folds, held_out) {
  table <- data.frame(`repeat` = repeats, fold = folds, check.names = FALSE)
  table$held_out <- held_out
  table
}

#' The folds of an object of the package rsample, such as `vfold_cv()` or `group_vfold_cv()`
#' @noRd
folds_of_rset <- function(rset, rows, call) {
  rlang::check_installed("rsample", "for folds made by it.")
  rows_of <- function(part) {
    lapply(rset$splits, function(split) check_rows(as.integer(split, data = part), rows, call))
  }
  held_out <- rows_of("assessment")
  ids <- as.data.frame(rset)[grep("^id", names(rset))]
  repeats <- if (length(ids) > 1) match(ids[[1]], unique(ids[[1]])) else rep(1L, length(held_out))
  table <- fold_table(repeats, ids[[length(ids)]], held_out)
  table$inside <- rows_of("analysis")
  table
}

check_rows <- function(value, rows, call) {
  if (!is.numeric(value) || !length(value) || anyNA(value) || !all(value %in% seq_len(rows))) {
    abort_argument(
      "folds",
      sprintf("`folds` must contain numbers of rows from 1 to %d, not %s.", rows, describe(value)),
      call
    )
  }
  as.integer(value)
}

is_classes <- function(y) is.factor(y) || is.character(y) && is.null(dim(y)) || is.logical(y)

#' Assign rows to folds of almost equal size, with equal shares of each class if there are classes
#' @noRd
random_folds <- function(folds, rows, classes = NULL) {
  shuffled <- sample.int(rows)
  if (!is.null(classes)) {
    shuffled <- shuffled[order(as.factor(classes)[shuffled])]
  }
  numbers <- integer(rows)
  numbers[shuffled] <- rep_len(sample.int(folds), rows)
  numbers
}

#' Assign whole groups to folds, the largest first, each to the fold with the fewest rows
#' @noRd
grouped_folds <- function(folds, groups) {
  groups <- as.character(groups) # without unused levels
  sizes <- table(groups)[sample.int(length(unique(groups)))]
  sizes <- sizes[order(-sizes)]
  filled <- numeric(folds)
  fold_of <- integer()
  for (group in names(sizes)) {
    smallest <- which.min(filled)
    fold_of[[group]] <- smallest
    filled[smallest] <- filled[smallest] + sizes[[group]]
  }
  fold_of[groups]
}
