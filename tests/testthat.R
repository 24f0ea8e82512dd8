library(testthat)
library(kerasfit)

test_check("kerasfit")
