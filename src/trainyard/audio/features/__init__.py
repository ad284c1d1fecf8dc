"""What models hear of a waveform: log-mel spectrograms, Whisper's features, normalised samples.

Computed for a whole batch on its device, and equal to the libraries that users know (librosa,
transformers), which are not imported. Knows no files, labels or caches.
"""

# Part of the key of every cached feature: raise it when the numbers of one of them change.
VERSION = 2
