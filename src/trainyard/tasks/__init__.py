"""The torch half of each task: the loss of a network's outputs, and predictions from them."""
