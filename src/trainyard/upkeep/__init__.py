"""Maintenance of a yard: clean, doctor and verify. Does not need torch."""
