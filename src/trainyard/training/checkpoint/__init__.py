"""Checkpoints of a training: captured from live objects, written to files, read back."""
