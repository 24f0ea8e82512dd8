# Memory, threads, file handles and R connections after many calls of fit() in one R session.
#
# Rscript leaks.R CALLS EVERY MODEL prints a table with a row for each EVERY calls, and fails if
# anything grows after the first row. There is a new model after each MODEL calls.

library(kerasfit)

calls <- as.integer(commandArgs(TRUE)[1])
every <- as.integer(commandArgs(TRUE)[2])
calls_of_a_model <- as.integer(commandArgs(TRUE)[3])
x <- as.matrix(iris[1:4])
Silent <- Callback("Silent", on_epoch_end = function(epoch, logs) self$last <- logs$loss)

new_model <- function() {
  model <- keras$Sequential(list(
    keras$layers$Dense(16L, activation = "relu"),
    keras$layers$Dense(3L, activation = "softmax")
  ))
  compile(model, "adam", "sparse_categorical_crossentropy", metrics = "accuracy")
}

used <- function() {
  gc()
  reticulate::import("gc")$collect()
  status <- readLines("/proc/self/status")
  number <- function(name) {
    as.numeric(gsub("[^0-9]", "", grep(paste0("^", name, ":"), status, value = TRUE)))
  }
  c(
    MB = number("VmRSS") / 1024,
    threads = number("Threads"),
    files = length(dir("/proc/self/fd")),
    connections = nrow(showConnections())
  )
}

rows <- list()
for (call in seq_len(calls)) {
  if ((call - 1) %% calls_of_a_model == 0) {
    model <- new_model()
  }
  batch <- local({
    done <- 0
    function() if ((done <<- done + 1) %% 3 != 0) list(x[1:32, ], iris$Species[1:32])
  })
  switch(
    call %% 3 + 1,
    fit(
      model,
      x,
      iris$Species,
      epochs = 2,
      validation_split = 0.2,
      callbacks = Silent(),
      verbose = 0
    ),
    fit(model, batch, epochs = 2, callbacks = callback_early_stopping("loss"), verbose = 0),
    fit(
      model,
      iris[1:4],
      iris$Species,
      callbacks = list(on_epoch_end = function(epoch) epoch),
      verbose = 0
    )
  )
  if (call %% every == 0) rows[[length(rows) + 1]] <- c(calls = call, round(used()))
}
table <- do.call(rbind, rows)
print(table)
growth <- table[nrow(table), ] - table[1, ]
cat(sprintf(
  "From call %d to %d: %+.0f MB, %+.0f threads, %+.0f file handles, %+.0f connections\n",
  every,
  calls,
  growth["MB"],
  growth["threads"],
  growth["files"],
  growth["connections"]
))
stopifnot(growth["MB"] < 50, growth[c("threads", "files", "connections")] <= 0)
