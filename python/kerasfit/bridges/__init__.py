"""Values of R as numpy, pandas and plain Python values: the only place in the core that knows about R."""
