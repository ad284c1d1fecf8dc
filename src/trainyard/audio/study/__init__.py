"""Studies of speech encoders: their layers, and the grid of experiments."""
