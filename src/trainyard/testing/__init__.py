"""Contract tests for your own layouts, to subclass in your own suite.

They need pytest; production code does not import this package.
"""
