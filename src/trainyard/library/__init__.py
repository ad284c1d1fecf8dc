"""Trainyard inside a user's own code: `fit` for their model and data, `start_run` for a loop of their own."""
