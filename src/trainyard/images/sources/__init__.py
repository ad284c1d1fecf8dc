"""Sources of images, each a function that returns a `Dataset`: the digits, arrays, and files in folders or tables.

A source knows a file format and its faults. Splitting, leaks and batches are the same for all sources and
implemented elsewhere.
"""
