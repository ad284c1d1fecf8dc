"""Source-filter synthesis of a vocal burst from a kind, a speaker and a take number.

The source is a train of glottal pulses and breath noise, the filter a cascade of formant resonators that
glide (Fant, "Acoustic theory of speech production", 1960; Klatt, "Software for a cascade/parallel formant
synthesizer", JASA 67, 1980). Slow parameters are computed a thousand times a second and interpolated: a
clip takes about 2 ms. Knows nothing of files or datasets.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from trainyard.audio.vocal_bursts.kinds import KINDS, VOWELS, Kind, Range
from trainyard.errors import DataError

VERSION = 1  # increment it when the same arguments give another waveform: cached entries are then recomputed

_Array = npt.NDArray[np.float64]

SHORTEST_S, LONGEST_S = 0.4, 2.5
_LOWEST_RATE_HZ = 4000  # below this the first formant does not fit
_PULSE_POINTS = 1024
_STEPS_HZ = 1000  # of the slow parameters
_BLOCKS = 12  # per clip; formants are constant within a block
_UPPER_FORMANTS_HZ = (3500.0, 4500.0)
_BANDWIDTHS_HZ = np.array([90.0, 110.0, 160.0, 250.0, 350.0])


@dataclass(frozen=True)
class Voice:
    """The properties of a speaker that all of their sounds share."""

    pitch_hz: float  # f0 at rest, 60 to 350
    tract: float  # factor of the formants relative to a vocal tract of 17.5 cm: 0.9 if it is long, 1.3 for a child's
    formants: tuple[float, float, float]  # the speaker's own deviation of F1, F2, F3
    breathiness: float  # breath noise in the voice, 0 to 0.3
    open_quotient: float  # share of a cycle during which the glottis is open; large for a soft voice
    tilt: float  # of the microphone and room, from -0.5 (dull) to 0.5 (bright)
    noise_db: float  # background noise relative to the loudest sample


def voice_of(speaker: int, *, seed: int = 0) -> Voice:
    """The voice of a speaker; pitch and tract length are loosely correlated, as in people."""
    draw = _Draws(seed, 0, speaker)
    height = draw.uniform((0.0, 1.0))  # 0 for a deep voice, 1 for a child's
    spread = draw.uniform((-0.08, 0.08))
    return Voice(
        pitch_hz=float(60 * (350 / 60) ** min(1.0, max(0.0, height + spread))),
        tract=0.9 + 0.35 * height + draw.uniform((-0.06, 0.06)),
        formants=(draw.uniform((0.93, 1.07)), draw.uniform((0.93, 1.07)), draw.uniform((0.95, 1.05))),
        breathiness=draw.uniform((0.0, 0.3)),
        open_quotient=draw.uniform((0.45, 0.75)),
        tilt=draw.uniform((-0.5, 0.5)),
        noise_db=draw.uniform((-50.0, -25.0)),
    )


def synthesise(
    kind: str, speaker: int, take: int, *, seed: int = 0, sample_rate: int = 16000
) -> npt.NDArray[np.float32]:
    """A vocal burst, float32 [T] in [-1, 1], of 0.4 to 2.5 seconds; the same for the same arguments.

    Each `speaker` has a voice, drawn from `seed` and its number, and any number of takes of each kind of `KINDS`.

    Raises:
        DataError: an unknown kind, or a sample rate below 4000 Hz.
    """
    if kind not in KINDS:
        raise DataError(f"Unknown kind of vocal burst: {kind!r}.", f"Use one of {', '.join(KINDS)}.", value=kind)
    if sample_rate < _LOWEST_RATE_HZ:
        what = f"Vocal bursts cannot be synthesised at {sample_rate} Hz."
        remedy = f"Set data.sample_rate to at least {_LOWEST_RATE_HZ}."
        raise DataError(what, remedy, value=sample_rate, place="data.sample_rate")
    ranges, voice = KINDS[kind], voice_of(speaker, seed=seed)
    draw = _Draws(seed, 1, list(KINDS).index(kind), speaker, take)
    hop = max(1, round(sample_rate / _STEPS_HZ))
    step_s = hop / sample_rate
    starts, ends, gains, total_s = _events(ranges, draw)
    count = int(total_s * sample_rate)
    times = np.arange(count // hop + 2, dtype=np.float64) * step_s

    f0, pulses, breath = _slow(ranges, voice, draw, times, starts, ends, gains)
    phase = np.cumsum(_fine(f0, hop, count) * (_PULSE_POINTS / sample_rate))
    pulse = _pulse(min(0.85, voice.open_quotient + 0.2 * breath.max() * draw.uniform((0.0, 1.0))))
    white = draw.noise(count)
    source = pulse[phase.astype(np.int64) & (_PULSE_POINTS - 1)] * _fine(pulses, hop, count)
    source += white * _fine(breath, hop, count)
    sound = _through_tract(source, _formants(ranges, voice, draw), sample_rate)

    sound[1:] -= voice.tilt * sound[:-1]
    sound *= 10 ** (draw.uniform((-18.0, -1.0)) / 20) / max(float(np.abs(sound).max()), 1e-9)
    noise_db = voice.noise_db + draw.uniform((-4.0, 4.0)) - 6
    # The same noise shifted by half a clip serves as independent noise.
    sound += np.roll(white, count // 2) * 10 ** (noise_db / 20)
    return np.clip(sound, -1.0, 1.0).astype(np.float32)


class _Draws:
    """Uniform numbers from the raw bits of PCG64, whose stability NumPy guarantees."""

    def __init__(self, *seeds: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence([seed % 2**64 for seed in seeds]))

    def uniform(self, between: Range) -> float:
        low, high = between
        return low + (high - low) * float(self.many(1)[0])

    def many(self, count: int) -> _Array:
        """Numbers in [0, 1)."""
        return (self._bits.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def noise(self, count: int) -> _Array:
        """White noise in [-1, 1), two samples per 64-bit word."""
        return self._bits.random_raw(count // 2 + 1).view(np.int32)[:count].astype(np.float64) * 2.0**-31


def _events(ranges: Kind, draw: _Draws) -> tuple[_Array, _Array, _Array, float]:
    """The starts and ends of a clip's sounds (s), the gain of each, and the length of the clip (s)."""
    low, high = ranges.events
    count = int(min(high, draw.uniform((low, high + 1))))
    length, gap, fade = draw.uniform(ranges.event_s), draw.uniform(ranges.gap_s), draw.uniform(ranges.fade)
    lengths = length * (0.85 + 0.3 * draw.many(count))
    gaps = gap * (0.75 + 0.5 * draw.many(count))
    before, after = draw.uniform((0.01, 0.12)), draw.uniform((0.03, 0.2))
    starts = before + np.concatenate([[0.0], np.cumsum(lengths + gaps)[:-1]])
    fits = starts + lengths + after <= LONGEST_S
    fits[0] = True
    starts, lengths = starts[fits], lengths[fits]
    ends = np.minimum(starts + lengths, LONGEST_S - 0.02)
    gains = 0.85 + 0.3 * draw.many(len(starts))
    gains *= (1 - fade) ** np.arange(len(starts))
    return starts, ends, gains, min(LONGEST_S, max(SHORTEST_S, float(ends[-1]) + after))


def _slow(
    ranges: Kind, voice: Voice, draw: _Draws, times: _Array, starts: _Array, ends: _Array, gains: _Array
) -> tuple[_Array, _Array, _Array]:
    """f0 (Hz) and the amplitudes of pulses and breath at each of the times."""
    whole = (times - starts[0]) / (ends[-1] - starts[0])
    pitches = [draw.uniform(part) for part in (ranges.start, ranges.middle, ranges.end)]
    contour = np.interp(whole, [0.0, 0.5, 1.0], pitches)
    wave = np.sin(2 * np.pi * (draw.uniform(ranges.tremor_hz) * times + draw.uniform((0.0, 1.0))))
    f0 = voice.pitch_hz * draw.uniform(ranges.pitch) * contour * (1 + draw.uniform(ranges.tremor) * wave)

    cycles = np.cumsum(f0 * (times[1] - times[0])).astype(np.int64)
    deviations = 2 * draw.many(int(cycles[-1]) + 1) - 1
    f0 = np.clip(f0 * (1 + 1.7 * draw.uniform(ranges.jitter) * deviations[cycles]), 40, 2000)
    shimmer = 1 + 1.7 * draw.uniform(ranges.shimmer) * deviations[::-1][cycles]
    rough_hz, roughness = draw.uniform((40.0, 120.0)), draw.uniform(ranges.roughness)
    rough = 1 - roughness * (0.5 + 0.5 * np.sin(2 * np.pi * rough_hz * times))

    attack, hold, onset = draw.uniform(ranges.attack_s), draw.uniform(ranges.hold), draw.uniform(ranges.onset)
    lengths = ends - starts
    voicing = draw.uniform(ranges.voicing)
    pulses = voicing * _envelope(times, starts + onset * lengths, ends, gains, attack, hold)
    breath = draw.uniform(ranges.aspiration) * _envelope(times, starts, ends, gains, attack, hold)
    breath += voice.breathiness * 0.5 * pulses
    return f0, pulses * shimmer * rough, breath


def _envelope(times: _Array, starts: _Array, ends: _Array, gains: _Array, attack: float, hold: float) -> _Array:
    """The envelope of all sounds: each rises during the attack, falls to `hold`, and fades out."""
    rise, fall = np.minimum(attack, 0.4 * (ends - starts)), np.minimum(0.08, 0.3 * (ends - starts))
    points = np.stack([starts, starts + rise, ends - fall, ends], axis=1).ravel()
    heights = np.stack([0 * gains, gains, hold * gains, 0 * gains], axis=1).ravel()
    return np.interp(times, points, heights) ** 1.5


def _pulse(open_quotient: float) -> _Array:
    """One cycle of the derivative of the glottal flow, peak 1: Rosenberg, JASA 49 (1971), pulse C.

    The derivative, because it is what the lips radiate (Fant 1960). The opening takes twice as long as the closing.
    """
    opening, closing = 2 / 3 * open_quotient, open_quotient / 3
    time = np.arange(_PULSE_POINTS) / _PULSE_POINTS
    rising = np.pi / (2 * opening) * np.sin(np.pi * time / opening)
    falling = -np.pi / (2 * closing) * np.sin(np.pi * (time - opening) / (2 * closing))
    flow = np.where(time < opening, rising, np.where(time < open_quotient, falling, 0.0))
    return flow / np.abs(flow).max()


def _formants(ranges: Kind, voice: Voice, draw: _Draws) -> _Array:
    """The formants in Hz, [blocks, 5], interpolated through the kind's vowels."""
    places = np.array([VOWELS[vowel] for vowel in ranges.vowels], np.float64)
    along = np.linspace(0, len(places) - 1, _BLOCKS)
    lower = np.stack([np.interp(along, np.arange(len(places)), place) for place in places.T], axis=1)
    lower *= np.array(voice.formants) * (0.88 + 0.24 * draw.many(3))
    upper = np.broadcast_to(_UPPER_FORMANTS_HZ, (_BLOCKS, len(_UPPER_FORMANTS_HZ)))
    return np.concatenate([lower, upper], axis=1) * voice.tract


def _through_tract(source: _Array, formants: _Array, sample_rate: int) -> _Array:
    """Filters the source with a cascade of resonators (Klatt 1980, equations 1 and 2), block by block."""
    from scipy.signal import sosfilt

    formants = formants[:, formants.max(axis=0) < 0.45 * sample_rate]
    bandwidths = _BANDWIDTHS_HZ[: formants.shape[1]]
    radius = np.exp(-np.pi * bandwidths / sample_rate)
    b = 2 * radius * np.cos(2 * np.pi * formants / sample_rate)
    c = np.broadcast_to(-(radius**2), b.shape)
    zero, one = np.zeros_like(b), np.ones_like(b)
    sections = np.stack([1 - b - c, zero, zero, one, -b, -c], axis=2)
    edges = np.linspace(0, len(source), _BLOCKS + 1).astype(int)
    state = np.zeros((formants.shape[1], 2))
    sound = np.empty_like(source)
    for block, (start, end) in enumerate(pairwise(edges)):
        sound[start:end], state = sosfilt(sections[block], source[start:end], zi=state)
    return sound


def _fine(slow: _Array, hop: int, count: int) -> _Array:
    """The slow values interpolated linearly to every sample, [count]."""
    ramp = np.arange(hop) / hop
    return (slow[:-1, np.newaxis] + np.diff(slow)[:, np.newaxis] * ramp).ravel()[:count]
