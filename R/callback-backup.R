#' Go on where a crash left off
#'
#' Keeps the state of a run in a folder. If [fit()][fit.keras.src.trainers.trainer.Trainer] is called again with the same model,
#' data and arguments, after a crash of any kind or an interrupt, it goes on from there, in this or another R session. The
#' final weights, the optimizer and the metrics in the history are then those of a run that was never interrupted, bit for bit
#' on the same machine.
#'
#' @section What is stored:
#' The variables of model, optimizer and metrics; the random generators of the backend, of numpy, of Python and of R; the
#' order of the samples; the history; and the state of callbacks. For those of Keras that is what has changed in them since
#' training began, such as the best value of `callback_early_stopping()`; what you gave when you made a callback always comes
#' from your call. A [Callback()] of your own says by methods `get_state()` and `set_state(state)` what its state is. The files
#' of `callback_csv_logger()` and [callback_log()] go on with the rows that they had; those of `callback_tensorboard()` are not
#' cut, so that epochs after the stored state are in its logs twice.
#'
#' Initial weights need not be the same: they come from the state. R's generator of normal numbers "Box-Muller" keeps a number
#' that cannot be stored.
#'
#' A state is written beside the one before and then takes its name, so that there is a whole one at any time. Its checksum
#' tells a damaged one.
#'
#' @section When it is stored:
#' As `save_freq` says, and when an interrupt (Ctrl-C, Esc) ends training: after the last whole step, also where the interrupt
#' comes during validation, in a generator or in a callback. A callback that is interrupted at the end of an epoch, in
#' validation or at the beginning of an epoch is called again for it when the run goes on; one that is interrupted at a batch
#' is not.
#'
#' The state is deleted by a run that began without one, or has gone on from it, has made a step and ended well. If a callback
#' of yours fails at the end of training, it is still there.
#'
#' @section What must be the same:
#' The model, the configuration of its optimizer, loss and metrics, the data, the arguments of `fit()`, and the callbacks with
#' their arguments. Something else is an error that names it. `epochs` may be larger; it cannot be smaller than the epoch of the
#' state. For another learning rate, say `learning_rate = "model"`.
#'
#' Arrays are exact, also after some steps of an epoch. A `keras$utils$PyDataset`, a `tf.data.Dataset` that does not shuffle,
#' and R functions that begin anew in a new session are exact too: the batches that have been made are made once more and
#' dropped. What a generator keeps elsewhere, such as its place in a file, it has to find again itself. The order of a
#' dataset that shuffles itself is another one.
#'
#' @section Who can read it:
#' The folder is made for its owner only (mode 0700), and so are the files in it (0600). A folder that others can write to is
#' warned about. Nothing in a state is code: reading one that somebody else has made runs nothing, but sets the weights, the
#' history and the state of callbacks to what it says. One process at a time can use a folder.
#'
#' @param backup_dir The folder, made if it is not there. Each run has one of its own. Files of yours in it are never touched.
#' @param save_freq "epoch": after each epoch; where epochs are so short that storing would take more than 3 % of the time,
#'   after some of them only. Or after how many steps to store the state. An interrupt stores it too.
#' @param double_checkpoint Whether to keep the state before the last one too, in case the disk damages the last one.
#' @param delete_checkpoint Whether to delete the state when training has ended by itself. If not, a later call with more
#'   `epochs` goes on from the end.
#' @param learning_rate "stored": a run goes on with the learning rate that it had, and another one of the model is an error.
#'   "model": it goes on with that of the model.
#' @return A callback: a Python object.
#' @section Errors: `fit()` signals a `kerasfit_error_argument` before the first step, and leaves the folder as it is, if the
#'   state in the folder is damaged, that of another run, or one of more epochs than `epochs`; if the folder cannot be written;
#'   or if another process uses it. It signals a `kerasfit_error_state` if a state cannot be stored later, as on a full
#'   disk; the state before is still there. Where the state is not needed any more, or an interrupt ends training, that is a
#'   warning.
#' @examplesIf kerasfit:::has_keras()
#' folder <- tempfile("run")
#' train <- function(callback) {
#'   set_random_seed(1)
#'   model <- keras$Sequential(list(keras$layers$Dense(3L, activation = "softmax")))
#'   model |> compile("adam", "sparse_categorical_crossentropy")
#'   backup <- callback_backup_and_restore(folder, save_freq = 5)
#'   model |> fit(as.matrix(iris[1:4]), iris$Species, epochs = 6, callbacks = list(callback, backup))
#' }
#' # the machine fails in epoch 4
#' fails <- TRUE
#' power <- list(on_epoch_begin = function(epoch) if (fails && epoch == 4) stop("no power"))
#' try(train(power))
#' # the same call again goes on after epoch 3
#' fails <- FALSE
#' train(power)
#' @export
callback_backup_and_restore <- function(
  backup_dir,
  save_freq = "epoch",
  double_checkpoint = FALSE,
  delete_checkpoint = TRUE,
  learning_rate = "stored"
) {
  session <- bridge$session(
    reticulate::r_to_py(r_random_state, convert = TRUE),
    reticulate::r_to_py(set_r_random_state, convert = TRUE)
  )
  keras_callback(
    "BackupAndRestore",
    whole = "save_freq",
    paths = "backup_dir",
    module = core_callbacks(),
    session = session
  )
}
