"""A user's own model and data: objects given to `trainyard.fit`, or named by a `_target_` in a configuration."""
