"""Analysis of predictions and histories: metrics, tables and plots.

Works on arrays and plain rows, so that a yard can be analysed without torch.
Libraries that take long to import are imported by the functions that need them.
"""
