"""Keras callbacks: the list that a run calls, and kerasfit's own callbacks."""
