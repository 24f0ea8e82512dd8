#' Train on several devices
#'
#' With JAX, [fit()][fit.keras.src.trainers.trainer.Trainer], [evaluate()] and
#' [predict()][predict.keras.src.trainers.trainer.Trainer] can use several GPUs of one machine. Each
#' computes a part of the rows of each batch, and a step gives what one device gives for the whole
#' batch. Call this at any time before `fit()`; the model need not be built in a special way, and
#' its variables stay where they are.
#'
#' Results equal those of one device but for rounding: a sum over a batch is added up in another
#' order. This includes class weights, dropout, batch normalization and metrics. If the size of a
#' batch is no multiple of the number of devices, which is common for the last batch of an epoch,
#' each device computes the whole batch. So choose a `batch_size` that is a multiple, and large
#' enough to keep all devices busy.
#'
#' Arrays are copied to each device if they take at most half of its free memory. Otherwise each
#' device gets a part of the rows, or, if that is too much as well, its part of one batch after
#' another. A backup may continue on another number of devices.
#'
#' @section Other ways and other backends:
#' A `keras$distribution` that you set, `DataParallel` or `ModelParallel`, is used as it is:
#' variables have the layout that it gave them. `use_devices()` is then an error.
#'
#' With TensorFlow, build the model in the scope of a `tf$distribute$MirroredStrategy()`. `fit()`
#' then calls Keras's own `fit()`, with kerasfit's history, progress and interrupts, but without
#' backups. It warns if the last batch has a size that the devices cannot share evenly, because
#' TensorFlow gives these samples wrong weights. PyTorch trains on one device.
#'
#' @param devices `"all"`; a number, for the first devices; the names of some, such as
#'   `c("gpu:0", "gpu:1")`; or `NULL` for the one that JAX chooses, as without this call.
#' @return The names of the devices in use, invisibly.
#' @seealso [kerasfit_sitrep()] for the devices that the backend has found. To try this on a CPU,
#'   set the environment variable `XLA_FLAGS` to `--xla_force_host_platform_device_count=4` before
#'   Keras loads: JAX then treats the CPU as four devices, which is not faster.
#' @section Errors: `kerasfit_error_argument` if there is no such device, `kerasfit_error_state` if
#'   the backend is not JAX or a `keras$distribution` is in use.
#' @examples
#' \dontrun{
#' use_backend("jax")
#' use_devices()
#' model |> fit(x, y, batch_size = 256)
#' use_devices(NULL)
#' }
#' @export
use_devices <- function(devices = "all") {
  call <- user_call("use_devices")
  devices <- scalar_to_core(devices, "devices", call)
  used <- as.character(call_core(call, core$use_devices, devices, convert = from_core))
  if (length(used)) {
    cli::cli_inform("Training on {length(used)} device{?s}: {.val {used}}.")
  } else {
    cli::cli_inform("Training on JAX's default device.")
  }
  invisible(used)
}
