"""Studies of speech encoders: the choice of layers, and the grid of experiments."""
