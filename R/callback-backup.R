#' Resume training after a crash
#'
#' Keeps the state of a training run, its checkpoint, in a folder. If
#' [fit()][fit.keras.src.trainers.trainer.Trainer] is called again with the same model, data and
#' arguments after a crash or an interrupt, it continues from the stored state, in the same or
#' another R session. The final weights, the optimizer and the metrics in the history are those of
#' an uninterrupted run, bit for bit on the same machine.
#'
#' @section When the state is stored:
#' According to `save_freq`, and when an interrupt (Ctrl-C, Esc) ends training. An interrupt stores
#' the state after the last complete step, also during validation, in a generator or in a callback.
#' A callback that is interrupted at the beginning or end of an epoch or in validation is called
#' again for that event when the run continues; a callback interrupted at a batch is not.
#'
#' The state is deleted at the end of a run that started without a stored state, or that continued
#' from one, ran at least one step and ended normally. If one of your callbacks fails at the end of
#' training, the state is kept.
#'
#' @section What must stay the same:
#' The model, the configuration of its optimizer, loss and metrics, the data, the arguments of
#' `fit()`, and the callbacks with their arguments. A difference is an error that names it. `epochs`
#' may be larger, but not smaller than the epoch of the state. To use another learning rate, set
#' `learning_rate = "model"`. The initial weights may differ, since the weights come from the state.
#'
#' Arrays resume exactly, even in the middle of an epoch. So do a `keras$utils$PyDataset`, a
#' `tf.data.Dataset` that does not shuffle, and an R function that starts from the beginning in a
#' new session: its batches of the epoch so far are generated again and discarded. A generator must
#' restore by itself any state that it keeps elsewhere, such as its position in a file. A dataset
#' that shuffles has a different order after the restart.
#'
#' @section What is stored:
#' The variables of the model, optimizer and metrics; the random generators of the backend, numpy,
#' Python and R; the order of the samples; the history; and the state of callbacks. For Keras's
#' callbacks, that is everything that changed since training began, such as the best value of
#' `callback_early_stopping()`; their arguments always come from your call. A class made by
#' [Callback()] defines its state with the methods `get_state()` and `set_state(state)`. The files
#' of `callback_csv_logger()` and [callback_log()] continue after the rows that they had at the
#' stored state. The files of `callback_tensorboard()` are not shortened, so they contain the epochs
#' after the stored state twice.
#'
#' With `RNGkind(normal.kind = "Box-Muller")`, R keeps one number that cannot be stored, so normal
#' numbers drawn after resuming may differ.
#'
#' The new state is written next to the old one and then renamed, so there is a complete state at
#' any time. A checksum detects damaged files.
#'
#' @section Who can read it:
#' The folder and its files are readable by their owner only (modes 0700 and 0600). A folder that
#' others can write to causes a warning. A state contains no code. Loading a state from somebody
#' else cannot run code, but it sets the weights, the history and the state of callbacks to its
#' contents. Only one process at a time can use a folder.
#'
#' @param backup_dir The folder, which is created if it does not exist. Each run needs its own.
#'   Other files in the folder are never changed.
#' @param save_freq "epoch": store the state after each epoch, or after some epochs only where
#'   epochs are so short that storing would take more than 3 % of the time. A number: store it after
#'   this many steps. An interrupt always stores it.
#' @param double_checkpoint Whether to also keep the previous state, in case the disk damages the
#'   last one.
#' @param delete_checkpoint Whether to delete the state when training ends normally. If not, a later
#'   call with more `epochs` continues from the end.
#' @param learning_rate "stored": continue with the learning rate of the stored state; it is an
#'   error if the model has another one. "model": continue with the learning rate of the model.
#' @return A callback: a Python object.
#' @section Errors: `fit()` raises a `kerasfit_error_argument` before the first step, and leaves the
#' folder unchanged, if the stored state is damaged, belongs to another run or has more epochs than
#' `epochs`; if the folder cannot be written to; or if another process uses it. It raises a
#' `kerasfit_error_state` if a state cannot be stored later, for example on a full disk; the
#' previous state is kept. If the state is no longer needed, or an interrupt is ending training,
#' this is a warning.
#' @examplesIf kerasfit:::has_keras()
#' folder <- tempfile("run")
#' train <- function(callback) {
#'   set_random_seed(1)
#'   model <- keras$Sequential(list(keras$layers$Dense(3L, activation = "softmax")))
#'   model |> compile("adam", "sparse_categorical_crossentropy")
#'   backup <- callback_backup_and_restore(folder, save_freq = 5)
#'   model |> fit(
#'     as.matrix(iris[1:4]), iris$Species,
#'     epochs = 6, callbacks = list(callback, backup)
#'   )
#' }
#' # training fails in epoch 4
#' fails <- TRUE
#' power <- list(on_epoch_begin = function(epoch) if (fails && epoch == 4) stop("no power"))
#' try(train(power))
#' # the same call again continues after epoch 3
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
  keras_callback(
    "BackupAndRestore",
    as.list(environment()),
    whole = "save_freq",
    paths = "backup_dir",
    module = core_callbacks(),
    session = bridge$session(
      reticulate::r_to_py(r_random_state, convert = TRUE),
      reticulate::r_to_py(set_r_random_state, convert = TRUE)
    )
  )
}
