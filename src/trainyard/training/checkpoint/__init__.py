"""What a training's checkpoint is: captured from live objects, written to files, read back."""
