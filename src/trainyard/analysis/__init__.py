"""What predictions and histories say: metrics, tables and pictures.

It works on arrays and plain rows, so that a yard can be analysed where torch is not installed.
Libraries that take long to import are imported by the functions that need them.
"""
