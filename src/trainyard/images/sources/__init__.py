"""Sources of images: one module per format, each with a `load(...)` that returns a `Dataset`.

A source knows a file format and its faults. Splitting, leaks and batches are the same for all sources and
implemented elsewhere.
"""
