"""The input features of models: log-mel spectrograms, Whisper's features, normalised waveforms.

Computed for a whole batch on its device. The values equal those of librosa and transformers, which are
not imported. Knows no files, labels or caches.
"""

# Part of the key of every cached feature: increment it when the values of any feature change.
VERSION = 2
