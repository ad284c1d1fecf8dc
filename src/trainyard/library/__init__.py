"""Trainyard inside a user's own code: `start_run` for a loop of their own, and what it needs."""
