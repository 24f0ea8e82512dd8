"""Checks of the model and data before a run, and explanations of errors that Keras raises in a step."""
