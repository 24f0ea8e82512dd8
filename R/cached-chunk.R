#' Warn, once for each document, that knitr caches the results of a chunk but not the weights of the
#' model
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
      paste(
        "This chunk is cached: when the document is rendered again, knitr restores R's values,",
        "but the model will not be trained."
      ),
      i = paste(
        "Set `cache = FALSE` for chunks that train a model.",
        "Or save the model in this chunk, `model$save(\"model.keras\")`, and load it in a chunk",
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
