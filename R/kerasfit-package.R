#' kerasfit: train Keras models from R
#'
#' `fit(model, x, y)` trains a Keras 3 model on what R has: vectors, matrices, arrays, factors, lists of
#' them, TensorFlow datasets, and R functions that make batches. The training loop is kerasfit's own; it runs on
#' TensorFlow, JAX or PyTorch.
#'
#' `vignette("kerasfit")` is the place to start, [fit()][fit.keras.src.trainers.trainer.Trainer] the page with all arguments.
#' Models are built with the Python module that kerasfit exports as [keras], or with the R package keras3.
#'
#' @section Options:
#' - `keras.verbose`: the default of `verbose` in [fit()][fit.keras.src.trainers.trainer.Trainer], `"auto"`.
#' - `keras.view_metrics`: the default of `view_metrics`, `"auto"`.
#' - `kerasfit.kernels`: whether layers may be computed by faster functions than Keras's, `TRUE`; see
#'   [fit()][fit.keras.src.trainers.trainer.Trainer].
#' - `kerasfit.cache`: the folder in which compiled programs are kept, or `FALSE`; see [use_backend()].
#' - `keras.plot.history.smooth`, `keras.plot.history.theme_bw`: defaults of
#'   [plot()][plot.kerasfit_history], both `FALSE`.
#'
#' @keywords internal
#' @importFrom rlang %||%
"_PACKAGE"
