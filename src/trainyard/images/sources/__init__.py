"""One module a dataset family, each with a `load(...)` that returns a `Dataset`.

A source knows a file format and its faults. It knows nothing of splitting, leaks or batches,
which are the same for all of them.
"""
