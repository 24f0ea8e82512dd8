"""Checks before a run, and explanations of errors that Keras raises in a step."""
