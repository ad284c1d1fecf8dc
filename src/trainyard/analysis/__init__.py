"""Metrics, tables and plots of predictions and histories, without torch; slow imports are inside functions."""
