# Trains on iris and predicts, with the package given as an argument: keras3 or kerasfit. start.py runs it in fresh processes.

package <- commandArgs(TRUE)
suppressMessages(library(package, character.only = TRUE))

if (package == "kerasfit") {
  layers <- keras$layers
  model <- keras$Sequential(list(
    keras$Input(list(4L)),
    layers$Dense(16L, activation = "relu"),
    layers$Dense(3L, activation = "softmax")
  ))
} else {
  model <- keras_model_sequential(input_shape = 4) |>
    layer_dense(16, activation = "relu") |>
    layer_dense(3, activation = "softmax")
}
compile(model, "adam", "sparse_categorical_crossentropy", metrics = "accuracy")
x <- as.matrix(iris[1:4])
fit(model, x, as.integer(iris$Species) - 1L, epochs = 30, verbose = 0)
predict(model, x, verbose = 0)
