# Recognise letters: 20 000 images of capital letters in 20 fonts, described by 16 numbers each.
# Frey, P. W. and Slate, D. J. (1991), "Letter Recognition Using Holland-Style Adaptive
# Classifiers", Machine Learning 6, 161-182. The data are in the R package mlbench.

library(kerasfit)
data(LetterRecognition, package = "mlbench")
set_random_seed(1)

test <- sample(nrow(LetterRecognition), 4000)
x <- scale(as.matrix(LetterRecognition[-1]))
y <- LetterRecognition$lettr

model <- keras$Sequential(list(
  keras$layers$Dense(128L, activation = "relu"),
  keras$layers$Dense(128L, activation = "relu"),
  keras$layers$Dense(26L, activation = "softmax")
))
model |> compile(optimizer = "adam", loss = "sparse_categorical_crossentropy", metrics = "accuracy")

history <- model |> fit(x[-test, ], y[-test], epochs = 20, batch_size = 64, validation_split = 0.1)
print(history)

held_out <- model |> evaluate(x[test, ], y[test], verbose = 0)
cat(sprintf("Accuracy on the 4000 letters held out: %.3f\n", held_out$accuracy))

probabilities <- model |> predict(x[test, ], verbose = 0)
guessed <- factor(levels(y)[max.col(probabilities)], levels(y))
confused <- as.data.frame(table(truth = y[test], guessed), stringsAsFactors = FALSE)
confused <- subset(confused, truth != guessed)
cat("Most often confused:\n")
print(head(confused[order(-confused$Freq), ], 4), row.names = FALSE)

# Rscript writes the plot to a file; in an interactive session it is shown instead
if (interactive()) {
  print(plot(history))
} else {
  png("letters.png", width = 1400, height = 1000, res = 200)
  print(plot(history))
  invisible(dev.off())
  cat("The plot is in letters.png.\n")
}
