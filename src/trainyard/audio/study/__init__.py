"""Studies of speech encoders: names that say everything, layers, and the grid of experiments."""
