"""Keeping a yard in order: clean, doctor and verify. Needs no torch."""
