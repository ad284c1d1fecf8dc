"""Sending a run's values to other tools as well: TensorBoard, Weights & Biases."""
