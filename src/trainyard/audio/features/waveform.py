"""The input of wav2vec2 and related models: waveforms with zero mean and unit variance over the signal.

Equal to transformers' `Wav2Vec2FeatureExtractor(do_normalize=True)` with padding, within 1e-5.
Knows no model.
"""

from __future__ import annotations

import torch

_EPSILON = 1e-7  # added to the variance, as in transformers, so that silence stays silence


def normalise_waveform(waveform: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    """Normalises each clip of float32 [B, T] to mean 0 and variance 1 over its signal, and zeroes what follows it.

    `lengths`, int64 [B], are the samples of signal in each clip, counted from its start; None: all T. A clip without
    signal is zeros.
    """
    samples = waveform.shape[1]
    if lengths is None:
        lengths = torch.full((len(waveform),), samples, device=waveform.device)
    lengths = lengths.to(waveform.device).unsqueeze(1)
    signal = torch.arange(samples, device=waveform.device) < lengths
    count = lengths.clamp(min=1)

    def mean(values: torch.Tensor) -> torch.Tensor:
        return values.sum(1, keepdim=True) / count

    masked = waveform.float() * signal
    centred = (masked - mean(masked)) * signal
    return centred / torch.sqrt(mean(centred.square()) + _EPSILON)
