# The variables in the R code of cases.json, with the same values as in cases.py.
x <- outer(0:149, 1:4, function(i, j) sin(i * j) + j - 1)
codes <- (0:149 * 7L) %% 3L
species <- factor(c("setosa", "versicolor", "virginica")[codes + 1L])
frame <- as.data.frame(x)
batches <- function(count) {
  number <- 0
  function() {
    if (number == count) {
      number <<- 0
      return(NULL)
    }
    number <<- number + 1
    batch(number)
  }
}
endless <- function() {
  number <- 0
  function() {
    number <<- number + 1
    batch(number)
  }
}
batch <- function(number) {
  rows <- (0:7 + 8 * (number - 1)) %% 150 + 1
  list(x[rows, ], codes[rows])
}
