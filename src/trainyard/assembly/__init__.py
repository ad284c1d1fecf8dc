"""From a config, a checkpoint or a user's objects to a training that can start, and back."""
