# The results of cross-validation.

new_cross_validation <- function(answers, tasks, grid, folds, rows, seed, seconds, y) {
  columns <- lapply(tasks, function(task) {
    cbind(
      setting_row(grid, task$setting_number),
      data.frame(`repeat` = task[["repeat"]], fold = task$fold, check.names = FALSE)
    )
  })
  names <- unique(unlist(lapply(answers, function(answer) names(answer$metrics))))
  values <- lapply(stats::setNames(names, names), function(name) {
    vapply(answers, function(answer) as.double(answer$metrics[[name]] %||% NA), numeric(1))
  })
  metrics <- do.call(rbind, columns)
  names[names %in% names(grid)] <- paste0(names[names %in% names(grid)], "_metric")
  metrics[names] <- values
  metrics$seconds <- vapply(answers, `[[`, numeric(1), "seconds")
  metrics$error <- vapply(answers, function(answer) answer$error$message %||% NA_character_, "")
  run <- vapply(tasks, function(task) paste(task$setting_number, task[["repeat"]]), "")
  run <- match(run, unique(run))
  runs <- metrics[!duplicated(run), c(names(grid), "repeat"), drop = FALSE]
  rownames(runs) <- NULL
  predictions <- lapply(unname(split(seq_along(tasks), run)), function(some) {
    join_predictions(lapply(answers[some], `[[`, "predictions"), tasks[some], rows, y)
  })
  structure(
    list(
      metrics = metrics,
      predictions = if (nrow(runs) == 1) predictions[[1]] else predictions,
      runs = runs,
      histories = lapply(answers, `[[`, "history"),
      folds = folds,
      seed = seed,
      seconds = seconds,
      samples = rows,
      measures = names,
      settings = names(grid),
      setting = vapply(tasks, `[[`, numeric(1), "setting_number")
    ),
    class = "keras_cross_validation"
  )
}

#' One row of a grid, without factors; a data frame without columns if there is no grid
#' @noRd
setting_row <- function(grid, number) {
  if (is.null(grid)) {
    return(data.frame(row.names = 1L))
  }
  row <- as.data.frame(grid)[number, , drop = FALSE]
  rownames(row) <- NULL
  row
}

#' Put predictions for folds into the order of the rows
#' @noRd
join_predictions <- function(parts, tasks, rows, y) {
  known <- which(!vapply(parts, is.null, NA))
  if (!length(known)) {
    return(NULL)
  }
  first <- parts[[known[[1]]]]
  if (is.list(first)) {
    joined <- lapply(stats::setNames(seq_along(first), names(first)), function(i) {
      target <- if (is.list(y) && !is.data.frame(y)) y[[names(first)[i] %||% i]]
      join_predictions(lapply(parts, function(part) part[[i]]), tasks, rows, target)
    })
    return(joined)
  }
  dims <- dim(first) %||% length(first)
  # sums, since a row may be held out by several folds
  all <- matrix(0, rows, prod(dims[-1]))
  counts <- integer(rows)
  for (i in known) {
    held_out <- tasks[[i]]$held_out
    all[held_out, ] <- all[held_out, ] + c(parts[[i]])
    counts[held_out] <- counts[held_out] + 1L
  }
  all <- all / counts
  all[counts == 0, ] <- NA
  dim(all) <- c(rows, dims[-1])
  if (is.factor(y) && length(dims) == 2 && dims[[2]] == nlevels(y)) {
    colnames(all) <- levels(y)
  }
  all
}

#' Raise the warnings of fits, and their first error if none succeeded
#' @noRd
report_failures <- function(answers, result, call) {
  for (message in unique(unlist(lapply(answers, `[[`, "warnings")))) {
    warn_kerasfit(message, call)
  }
  failed <- which(!is.na(result$metrics$error))
  if (!length(failed)) {
    return(invisible())
  }
  error <- answers[[failed[[1]]]]$error
  if (length(failed) == length(answers)) {
    abort_worker("All fits failed. The first error:", error, call)
  }
  warn_kerasfit(
    c(
      cli::pluralize(
        "{length(failed)} of {length(answers)} fits failed; the first error, in fold ",
        "{result$metrics$fold[[failed[[1]]]]}: ",
        sub("\n.*", "", error$message)
      ),
      i = "The column `error` of `metrics` has the errors."
    ),
    call
  )
}

#' @export
summary.keras_cross_validation <- function(object, ...) {
  metrics <- object$metrics
  rows <- unname(split(seq_len(nrow(metrics)), object$setting))
  parts <- lapply(rows, function(some) {
    values <- metrics[some, object$measures, drop = FALSE]
    statistics <- list(mean = mean, sd = stats::sd, min = min, max = max)
    table <- lapply(statistics, function(statistic) {
      vapply(values, function(each) statistic_of(each, statistic), numeric(1))
    })
    cbind(
      metrics[rep(some[[1]], length(object$measures)), object$settings, drop = FALSE],
      data.frame(metric = object$measures, table, fits = sum(is.na(metrics$error[some])))
    )
  })
  table <- do.call(rbind, parts)
  rownames(table) <- NULL
  structure(table, class = c("summary.keras_cross_validation", "data.frame"))
}

statistic_of <- function(values, statistic) {
  values <- values[!is.na(values)]
  if (length(values)) statistic(values) else NA_real_
}

#' @export
print.summary.keras_cross_validation <- function(x, ...) {
  print(structure(x, class = "data.frame"), digits = 4, row.names = FALSE)
  invisible(x)
}

#' @export
print.keras_cross_validation <- function(x, ...) {
  fits <- nrow(x$metrics)
  folds <- length(unique(x$metrics$fold))
  repeats <- length(unique(x$metrics[["repeat"]]))
  settings <- if (length(x$settings)) nrow(x$runs) / repeats
  cat(
    "Cross-validation: ",
    cli::pluralize("{fits} fit{?s}, {folds} fold{?s}"),
    if (repeats > 1) sprintf(", %d repeats", repeats),
    if (!is.null(settings)) cli::pluralize(", {settings} setting{?s}"),
    sprintf(", %s rows, %s\n", format(x$samples, big.mark = ","), format_seconds(x$seconds)),
    sep = ""
  )
  print(summary(x))
  failed <- sum(!is.na(x$metrics$error))
  if (failed) {
    cat(cli::pluralize("{failed} fit{?s} failed: see the column `error` of `metrics`.\n"))
  }
  invisible(x)
}

#' @export
as.data.frame.keras_cross_validation <- function(x, row.names = NULL, optional = FALSE, ...) {
  labels <- x$metrics[c(x$settings, "repeat", "fold")]
  parts <- lapply(seq_along(x$histories), function(i) {
    history <- x$histories[[i]]
    if (is.null(history)) {
      return(NULL)
    }
    data <- as.data.frame(history)
    cbind(labels[rep(i, nrow(data)), , drop = FALSE], data)
  })
  all <- do.call(rbind, parts)
  rownames(all) <- NULL
  all
}

#' @export
plot.keras_cross_validation <- function(x, y, ...) {
  check_no_y(y, user_call("plot"))
  trained <- !vapply(x$histories, is.null, NA)
  repeats <- length(unique(x$metrics[["repeat"]])) > 1
  labels <- x$metrics[c(x$settings, if (repeats) "repeat", "fold")]
  text <- lapply(names(labels), function(name) paste(name, labels[[name]]))
  names <- do.call(paste, c(text, sep = ", "))
  plot(training_histories(stats::setNames(x$histories[trained], names[trained])), ...)
}
