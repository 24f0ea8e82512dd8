"""Reads data for a model: data frames, factors and arrays become inputs, targets and weights."""
