# A run with a backup that can be killed at any time: Rscript killed.R SOURCE FOLDER.
#
# Prints "training" when training starts, and a hash of the result. With a FOLDER of "" there is no
# backup.

library(kerasfit)

arguments <- commandArgs(TRUE)
source_of <- arguments[1]
folder <- arguments[2]
save_freq <- switch(source_of, arrays = 3, frame = 7, dataset = 50, pydataset = 1, "epoch")
place <- if (nzchar(folder)) dirname(folder) else tempdir()

set_random_seed(1)
x <- matrix(rnorm(2400), ncol = 4, dimnames = list(NULL, letters[1:4]))
y <- x[, 1] * x[, 2]
rows_of_batch <- function() sample(600, 16)
validation <- list(x[1:100, ], y[1:100])

model <- keras$Sequential(list(
  keras$Input(list(4L)),
  keras$layers$Dense(8L, activation = "relu"),
  keras$layers$Dropout(0.2),
  keras$layers$BatchNormalization(),
  keras$layers$Dense(1L)
))
compile(model, keras$optimizers$Adam(0.01), "mse", metrics = "mae")

python <- reticulate::py_run_string(
  "
import random
import keras
import numpy as np

class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = np.asarray(x, 'float32'), np.asarray(y, 'float32')

    def __len__(self):
        return 18

    def __getitem__(self, number):
        rows = slice(number * 32, number * 32 + 32)
        return self.x[rows], self.y[rows]

def random_batches(x, y):
    x, y = np.asarray(x, 'float32'), np.asarray(y, 'float32')
    while True:
        rows = np.random.randint(0, len(x), 16)
        rows[0] = random.randrange(len(x))
        yield x[rows], y[rows]

def dataset(x, y):
    import tensorflow as tf
    arrays = (np.asarray(x, 'float32'), np.asarray(y, 'float32'))
    return tf.data.Dataset.from_tensor_slices(arrays).batch(32)
",
  convert = FALSE
)

data <- switch(
  source_of,
  arrays = list(x, y, batch_size = 32),
  frame = list(as.data.frame(x), data.frame(y = y), batch_size = 32),
  dataset = list(python$dataset(x, matrix(y))),
  pydataset = list(python$Batches(x, matrix(y))),
  r_generator = list(
    function() {
      rows <- rows_of_batch()
      list(x[rows, ], y[rows])
    },
    steps_per_epoch = 18
  ),
  python_generator = list(python$random_batches(x, matrix(y)), steps_per_epoch = 18)
)
if (source_of == "frame") {
  validation[[1]] <- as.data.frame(validation[[1]])
}
if (source_of == "r_generator") {
  validation <- function() {
    rows <- rows_of_batch()
    list(x[rows, ], y[rows])
  }
}

noisy <- Callback(
  "Noisy",
  public = list(
    drawn = list(),
    get_state = function() self$drawn,
    set_state = function(state) self$drawn <- state
  ),
  on_train_begin = function() cat("training\n"),
  on_epoch_end = function(epoch, logs) {
    self$drawn[[paste0("epoch", epoch)]] <- list(runif(1), factor(sample(letters, 1)))
    Sys.sleep(0.02)
  }
)()
log <- file.path(place, paste0(source_of, ".csv"))
csv <- file.path(place, paste0(source_of, "-keras.csv"))
callbacks <- list(
  noisy,
  callback_log(log),
  callback_csv_logger(csv),
  callback_early_stopping("val_loss", patience = 12, restore_best_weights = TRUE),
  callback_reduce_lr_on_plateau("val_loss", patience = 2, min_delta = 0.01),
  if (nzchar(folder)) callback_backup_and_restore(folder, save_freq, double_checkpoint = TRUE)
)
set_random_seed(2)
history <- do.call(
  fit,
  c(
    list(model),
    data,
    list(
      epochs = 40,
      validation_data = validation,
      validation_steps = if (is.function(validation)) 3,
      callbacks = Filter(Negate(is.null), callbacks),
      verbose = 0
    )
  )
)
rows <- read.csv(log)
cat(
  rlang::hash(list(
    lapply(model$get_weights(), as.vector),
    history$metrics,
    noisy$drawn,
    runif(1),
    rows[names(rows) != "seconds"],
    readLines(csv)
  )),
  "\n"
)
