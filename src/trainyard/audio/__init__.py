"""Recordings as data: decoding, clips, features, augmentation, corpora, and speech encoders."""
