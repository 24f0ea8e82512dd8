"""Keras callbacks: the list that a run calls, and callbacks of kerasfit's own."""
