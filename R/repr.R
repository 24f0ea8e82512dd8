# Histories in Jupyter's R kernel are shown as plots.

#' @exportS3Method repr::repr_png
repr_png.keras_training_history <- function(
  obj,
  width = getOption("repr.plot.width", 7),
  height = getOption("repr.plot.height", 5),
  res = getOption("repr.plot.res", 120),
  ...
) {
  if (!any(is.finite(unlist(obj$metrics)))) {
    return(NULL)
  }
  file <- tempfile(fileext = ".png")
  on.exit(unlink(file))
  grDevices::png(file, width, height, units = "in", res = res)
  tryCatch(print(plot(obj)), finally = grDevices::dev.off())
  readBin(file, "raw", file.size(file))
}
