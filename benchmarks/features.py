"""Features of sound: log-mel spectrograms a second, and an epoch from the cache.

* throughput: spectrograms in dB of 5-second clips at 16 kHz (n_fft 400, hop 160, 64 mels, top_db 80), from
  waveforms in memory, on one thread and on all cores, each for as long: ours in batches of 64; librosa one clip at a
  time, as its users call it, and on the batch (which then has one dynamic range for all: not the same numbers).
  The sound is noise; ours also with its upper half cut off, as if it had been recorded at 8 kHz, which is the
  worst for us: almost every frame then has a band so faint that it is computed again in double precision.
* an epoch: 1,000 clips of 2 s in a new order each time, as batches of 32 float32 tensors: from the cache, as in
  every epoch but the first; from a cache that this process opens anew, which reads its index and checks every
  payload; computed by us from waveforms in memory; computed by us from 16-bit WAV files read with soundfile,
  which is what an epoch without the cache does; and that with librosa's spectrograms.

The cache's files are in the page cache. Normalising is off: it is ours alone.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from benchmarks.common import US, Column, Measure, Tool, arguments, begin, chosen, interleave, show

SAMPLE_RATE = 16000
N_FFT, HOP_LENGTH, N_MELS, TOP_DB = 400, 160, 64, 80.0
BATCH = 32
SECONDS = 1.5  # of a measurement of throughput: a core that was idle takes some tenths to come to speed


def waveforms(clips: int, seconds: float) -> np.ndarray:
    """Noise with a falling loudness."""
    samples = int(seconds * SAMPLE_RATE)
    noise = np.random.default_rng(0).standard_normal((clips, samples), dtype=np.float32)
    return noise * (0.2 * np.exp(-3 * np.linspace(0, 1, samples, dtype=np.float32)))


def narrow(noise: np.ndarray) -> np.ndarray:
    """The same without its upper half of the frequencies."""
    spectra = np.fft.rfft(noise)
    spectra[:, spectra.shape[1] // 2 :] = 0
    return np.fft.irfft(spectra, noise.shape[1]).astype(np.float32)


def with_librosa(waveform: np.ndarray) -> np.ndarray:
    import librosa

    power = librosa.feature.melspectrogram(
        y=waveform, sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP_LENGTH, n_mels=N_MELS, pad_mode="constant"
    )
    return librosa.power_to_db(power, ref=1.0, top_db=TOP_DB)


def with_us() -> Callable[[np.ndarray], np.ndarray]:
    import torch

    from trainyard.audio.features.log_mel import LogMel

    log_mel = LogMel(SAMPLE_RATE, N_FFT, HOP_LENGTH, N_MELS, top_db=TOP_DB, normalise="none")
    return lambda batch: log_mel(torch.from_numpy(batch))[:, 0].numpy()


def throughput(tool: str, clips: int) -> Measure:
    batch = waveforms(clips, 5.0)
    if tool == "narrow":
        batch = narrow(batch)
    ours = with_us() if tool in (US, "narrow") else None

    def measure() -> dict[str, float]:
        start, batches = time.perf_counter(), 0
        while (seconds := time.perf_counter() - start) < SECONDS:
            batches += 1
            if ours is not None:
                ours(batch)
            elif tool == "one by one":
                for waveform in batch:
                    with_librosa(waveform)
            else:
                with_librosa(batch)
        return {"clips_per_s": batches * clips / seconds}

    return measure


def epoch(tool: str, clips: int) -> Measure:
    import soundfile
    import torch

    from trainyard.data.cache import FeatureCache

    items = waveforms(clips, 2.0)
    paths = [Path(f"{number}.wav") for number in range(clips)]
    for path, waveform in zip(paths, items, strict=True):
        soundfile.write(path, waveform, SAMPLE_RATE, subtype="PCM_16")
    digests = [f"{number:032x}" for number in range(clips)]
    ours = with_us()
    turns = itertools.count()

    def opened() -> FeatureCache:
        return FeatureCache(Path("cache"), {"n_mels": N_MELS}, limit_mb=4096)

    def read(batch: list[int]) -> np.ndarray:
        return np.stack([soundfile.read(paths[item], dtype="float32")[0] for item in batch])

    def of_batch(batch: list[int], cache: FeatureCache | None) -> np.ndarray:
        if cache is not None:
            found = cache.get(
                [digests[i] for i in batch], lambda missing: list(ours(items[[batch[m] for m in missing]]))
            )
            return np.stack(found)
        if tool == "computed":
            return ours(items[batch])
        if tool == "decoded and computed":
            return ours(read(batch))
        return np.stack([with_librosa(waveform) for waveform in read(batch)])

    def batches(cache: FeatureCache | None) -> Iterator[torch.Tensor]:
        order = np.random.default_rng(next(turns)).permutation(clips)
        for at in range(0, clips, BATCH):
            yield torch.from_numpy(of_batch(order[at : at + BATCH].tolist(), cache)).unsqueeze(1)

    kept = opened() if tool in (US, "opened anew") else None
    if kept is not None:
        for _ in range(2):  # computes them; checks them
            list(batches(kept))

    def measure() -> dict[str, float]:
        start = time.perf_counter()
        cache = opened() if tool == "opened anew" else kept
        for tensors in batches(cache):
            assert tensors.shape[1:3] == (1, N_MELS)
        return {"epoch_s": time.perf_counter() - start}

    return measure


def main() -> None:
    parser = arguments(__doc__, repeats=7)
    parser.add_argument("--clips", type=int, default=1000, help="of an epoch (default %(default)s)")
    options = begin(parser, "torch", "librosa", "soundfile", "numpy")
    tools = [
        Tool(US, throughput, {"tool": US, "clips": 64}),
        Tool(f"{US}, upper half cut off", throughput, {"tool": "narrow", "clips": 64}),
        Tool("librosa one by one", throughput, {"tool": "one by one", "clips": 64}),
        Tool("librosa, a batch", throughput, {"tool": "batch", "clips": 64}),
    ]
    cores = options.threads or os.cpu_count() or 1
    for threads in sorted({1, cores}):
        os.environ["OMP_NUM_THREADS"] = str(threads)  # the tools' processes inherit it
        show(
            f"log-mel spectrograms of 5-second clips, {threads} thread{'s' * (threads > 1)}",
            interleave(chosen(tools, options.only), options.repeats),
            [Column("clips_per_s", "throughput", "clips/s", digits=0)],
            "librosa one by one",
        )
    tools = [
        Tool(f"{US}, from the cache", epoch, {"tool": US, "clips": options.clips}),
        Tool(f"{US}, cache opened anew", epoch, {"tool": "opened anew", "clips": options.clips}),
        Tool(f"{US}, computed", epoch, {"tool": "computed", "clips": options.clips}),
        Tool(f"{US}, decoded and computed", epoch, {"tool": "decoded and computed", "clips": options.clips}),
        Tool("librosa, decoded and computed", epoch, {"tool": "librosa", "clips": options.clips}),
    ]
    show(
        f"an epoch of {options.clips:,} clips of 2 s, batches of {BATCH}",
        interleave(chosen(tools, options.only), options.repeats),
        [Column("epoch_s", "epoch", "ms", 1e3, 1)],
        f"{US}, from the cache",
    )


if __name__ == "__main__":
    main()
