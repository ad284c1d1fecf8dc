"""Texts as data: where they come from, how they become tokens, and the encoders that read them."""
