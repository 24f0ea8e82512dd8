"""Data as the model takes them: frames, factors and arrays become inputs, targets and weights."""
