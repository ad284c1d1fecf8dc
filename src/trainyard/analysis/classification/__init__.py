"""Analysis of predicted classes: decisions, metrics, tables, statistics, plots. Needs no torch."""
