"""Recordings as data: decoding, clips, features, augmentation, corpora, and the encoders that hear them."""
