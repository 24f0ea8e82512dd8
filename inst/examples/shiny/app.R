# Trains a network in another process and shows its progress. Run it with
# shiny::runApp(system.file("examples", "shiny", package = "kerasfit"))

library(shiny)
library(kerasfit)

# runs in the other process, which gets only these arguments
train <- function(folder, units, epochs) {
  library(kerasfit)
  set_random_seed(1)
  x <- scale(as.matrix(iris[1:4]))
  model <- keras$Sequential(list(
    keras$layers$Dense(as.integer(units), activation = "relu"),
    keras$layers$Dense(3L, activation = "softmax")
  ))
  compile(model, "adam", "sparse_categorical_crossentropy", metrics = "accuracy")
  rows <- sample(nrow(x))
  fit(
    model,
    x[rows, ],
    iris$Species[rows],
    epochs = epochs,
    validation_split = 0.2,
    view_metrics = folder,
    verbose = 0
  )
}

ui <- fluidPage(
  titlePanel("Irises"),
  sidebarLayout(
    sidebarPanel(
      sliderInput("units", "Units in the hidden layer", 1, 64, 16),
      numericInput("epochs", "Epochs", 500, min = 1),
      actionButton("train", "Train", class = "btn-primary"),
      width = 3
    ),
    mainPanel(training_output("metrics", height = "560px"), verbatimTextOutput("history"))
  )
)

server <- function(input, output, session) {
  run <- reactiveVal()

  observeEvent(input$train, {
    if (!is.null(run())) {
      run()$process$kill()
    }
    folder <- tempfile("training-")
    dir.create(folder)
    process <- callr::r_bg(train, list(folder, input$units, input$epochs))
    session$onSessionEnded(function() process$kill())
    run(list(folder = folder, process = process))
  })

  output$metrics <- render_training(run()$folder)

  output$history <- renderPrint({
    req(run())
    if (run()$process$is_alive()) {
      invalidateLater(500)
      cat("Training ...")
    } else {
      print(run()$process$get_result())
    }
  })
}

shinyApp(ui, server)
