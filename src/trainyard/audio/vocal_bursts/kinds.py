"""The ranges of the parameters of each kind of vocal burst.

Numbers only; `synthesis` creates waveforms from them. Similar kinds overlap on purpose (a low moan and a
groan, a long gasp and a sigh), as they do in recordings, so that they are not trivial to classify.
For recordings of these kinds see Anikin & Persson, "Nonlinguistic vocalizations from online amateur videos
for emotion research", Behavior Research Methods 49 (2017).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Range = tuple[float, float]

# F1, F2, F3 in Hz: the means of men in Peterson & Barney, "Control methods used in a study of the vowels",
# JASA 24 (1952). In addition, "schwa" is a uniform tube of 17.5 cm, and "m" a closed mouth radiating through the nose.
VOWELS: Mapping[str, tuple[float, float, float]] = {
    "a": (730, 1090, 2440),
    "ae": (660, 1720, 2410),
    "e": (530, 1840, 2480),
    "schwa": (500, 1500, 2500),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
    "m": (250, 1050, 2150),
}


@dataclass(frozen=True)
class Kind:
    """The ranges of one kind; each clip draws a value from each.

    Attributes:
        events: number of successive sounds.
        event_s: length of each, seconds.
        gap_s: silence between them, seconds.
        attack_s: time from silence to full loudness, seconds.
        hold: loudness at the end of an event, before it fades out; small for sounds that burst and decay.
        fade: by how much each event is softer than the one before.
        pitch: f0 relative to the speaker's.
        contour: factors of f0 at the beginning, the middle and the end.
        voicing: amplitude of the glottal pulses.
        aspiration: amplitude of the breath noise.
        onset: share of an event before voicing starts.
        jitter: deviation of f0 from cycle to cycle.
        shimmer: deviation of the amplitude from cycle to cycle.
        tremor_hz: rate of the modulation of f0.
        tremor: depth of that modulation.
        roughness: depth of the amplitude modulation at 40 to 120 Hz that makes screams alarming (Arnal et
            al., "Human screams occupy a privileged niche in the communication soundscape", 2015).
        vowels: the vowels that the mouth passes through, from `VOWELS`.
    """

    events: tuple[int, int]
    event_s: Range
    gap_s: Range
    attack_s: Range
    hold: Range
    fade: Range
    pitch: Range
    contour: tuple[Range, Range, Range]
    voicing: Range
    aspiration: Range
    onset: Range
    jitter: Range
    shimmer: Range
    tremor_hz: Range
    tremor: Range
    roughness: Range
    vowels: tuple[str, ...]


KINDS: Mapping[str, Kind] = {
    # Puffs of voice, each with a breathy onset, about five a second, falling in pitch and loudness.
    "laugh": Kind(
        events=(3, 9),
        event_s=(0.08, 0.2),
        gap_s=(0.05, 0.16),
        attack_s=(0.01, 0.04),
        hold=(0.3, 0.8),
        fade=(0.0, 0.14),
        pitch=(1.1, 2.2),
        contour=((0.95, 1.3), (0.95, 1.1), (0.7, 0.95)),
        voicing=(0.5, 1.0),
        aspiration=(0.1, 0.5),
        onset=(0.05, 0.3),
        jitter=(0.005, 0.03),
        shimmer=(0.02, 0.15),
        tremor_hz=(4, 7),
        tremor=(0.0, 0.02),
        roughness=(0.0, 0.2),
        vowels=("schwa", "a"),
    ),
    # High wails that rise, waver and fall, one breath after another.
    "cry": Kind(
        events=(1, 3),
        event_s=(0.4, 1.1),
        gap_s=(0.08, 0.3),
        attack_s=(0.03, 0.12),
        hold=(0.5, 0.9),
        fade=(-0.1, 0.2),
        pitch=(1.4, 2.6),
        contour=((0.75, 1.0), (1.0, 1.3), (0.6, 0.9)),
        voicing=(0.6, 1.0),
        aspiration=(0.03, 0.2),
        onset=(0.0, 0.08),
        jitter=(0.01, 0.035),
        shimmer=(0.05, 0.2),
        tremor_hz=(5, 9),
        tremor=(0.015, 0.07),
        roughness=(0.0, 0.35),
        vowels=("ae", "a", "ae"),
    ),
    # One long sound, very high and rough, loud from the start.
    "scream": Kind(
        events=(1, 1),
        event_s=(0.6, 1.8),
        gap_s=(0.0, 0.0),
        attack_s=(0.015, 0.08),
        hold=(0.7, 1.0),
        fade=(0.0, 0.0),
        pitch=(2.2, 4.5),
        contour=((0.75, 1.0), (0.95, 1.15), (0.75, 1.05)),
        voicing=(0.7, 1.0),
        aspiration=(0.05, 0.3),
        onset=(0.0, 0.03),
        jitter=(0.01, 0.06),
        shimmer=(0.1, 0.3),
        tremor_hz=(4, 9),
        tremor=(0.0, 0.03),
        roughness=(0.2, 0.9),
        vowels=("a", "ae"),
    ),
    # Breath let out: noise with little or no voice, slow to swell and slow to die.
    "sigh": Kind(
        events=(1, 1),
        event_s=(0.6, 1.6),
        gap_s=(0.0, 0.0),
        attack_s=(0.06, 0.3),
        hold=(0.15, 0.5),
        fade=(0.0, 0.0),
        pitch=(0.8, 1.3),
        contour=((1.05, 1.3), (0.9, 1.05), (0.6, 0.85)),
        voicing=(0.0, 0.25),
        aspiration=(0.4, 1.0),
        onset=(0.0, 0.3),
        jitter=(0.005, 0.02),
        shimmer=(0.03, 0.1),
        tremor_hz=(3, 6),
        tremor=(0.0, 0.02),
        roughness=(0.0, 0.05),
        vowels=("a", "schwa"),
    ),
    # A low, creaking voice with irregular cycles.
    "groan": Kind(
        events=(1, 1),
        event_s=(0.6, 1.8),
        gap_s=(0.0, 0.0),
        attack_s=(0.03, 0.15),
        hold=(0.4, 0.9),
        fade=(0.0, 0.0),
        pitch=(0.55, 0.95),
        contour=((0.9, 1.15), (0.95, 1.1), (0.65, 0.9)),
        voicing=(0.6, 1.0),
        aspiration=(0.05, 0.25),
        onset=(0.0, 0.05),
        jitter=(0.02, 0.08),
        shimmer=(0.12, 0.4),
        tremor_hz=(3, 6),
        tremor=(0.0, 0.03),
        roughness=(0.05, 0.5),
        vowels=("schwa", "o"),
    ),
    # A sharp intake of breath: short noise that swells until it stops.
    "gasp": Kind(
        events=(1, 2),
        event_s=(0.25, 0.7),
        gap_s=(0.1, 0.3),
        attack_s=(0.04, 0.2),
        hold=(0.45, 1.0),
        fade=(0.0, 0.3),
        pitch=(1.2, 2.2),
        contour=((0.8, 0.95), (1.0, 1.15), (1.1, 1.4)),
        voicing=(0.0, 0.3),
        aspiration=(0.4, 1.0),
        onset=(0.1, 0.5),
        jitter=(0.01, 0.03),
        shimmer=(0.05, 0.15),
        tremor_hz=(3, 6),
        tremor=(0.0, 0.02),
        roughness=(0.0, 0.15),
        vowels=("e", "ae"),
    ),
    # Bursts of noise with a short voiced tail, two or three per breath.
    "cough": Kind(
        events=(1, 4),
        event_s=(0.12, 0.35),
        gap_s=(0.06, 0.3),
        attack_s=(0.002, 0.012),
        hold=(0.03, 0.3),
        fade=(0.0, 0.25),
        pitch=(0.9, 1.5),
        contour=((1.0, 1.2), (0.9, 1.05), (0.7, 0.9)),
        voicing=(0.1, 0.6),
        aspiration=(0.5, 1.0),
        onset=(0.1, 0.4),
        jitter=(0.02, 0.06),
        shimmer=(0.1, 0.3),
        tremor_hz=(3, 6),
        tremor=(0.0, 0.01),
        roughness=(0.0, 0.4),
        vowels=("schwa", "o"),
    ),
    # Long; the mouth opens wide and closes again while a breathy voice rises and falls.
    "yawn": Kind(
        events=(1, 1),
        event_s=(1.1, 2.2),
        gap_s=(0.0, 0.0),
        attack_s=(0.1, 0.4),
        hold=(0.3, 0.8),
        fade=(0.0, 0.0),
        pitch=(0.8, 1.4),
        contour=((0.7, 0.95), (1.0, 1.3), (0.55, 0.8)),
        voicing=(0.2, 0.7),
        aspiration=(0.2, 0.7),
        onset=(0.05, 0.3),
        jitter=(0.005, 0.025),
        shimmer=(0.03, 0.12),
        tremor_hz=(3, 6),
        tremor=(0.0, 0.02),
        roughness=(0.0, 0.1),
        vowels=("u", "a", "a", "u"),
    ),
    # A smooth voice at the speaker's own pitch, rising a little and falling.
    "moan": Kind(
        events=(1, 2),
        event_s=(0.5, 1.4),
        gap_s=(0.08, 0.3),
        attack_s=(0.05, 0.25),
        hold=(0.4, 0.9),
        fade=(0.0, 0.2),
        pitch=(0.85, 1.5),
        contour=((0.85, 1.0), (1.0, 1.2), (0.7, 0.9)),
        voicing=(0.6, 1.0),
        aspiration=(0.05, 0.3),
        onset=(0.0, 0.1),
        jitter=(0.004, 0.025),
        shimmer=(0.03, 0.15),
        tremor_hz=(4, 7),
        tremor=(0.0, 0.03),
        roughness=(0.0, 0.15),
        vowels=("o", "a", "o"),
    ),
    # Closed mouth: steady pitch, no breath, little energy above the first formant.
    "hum": Kind(
        events=(1, 4),
        event_s=(0.3, 1.0),
        gap_s=(0.02, 0.15),
        attack_s=(0.03, 0.1),
        hold=(0.6, 1.0),
        fade=(-0.1, 0.1),
        pitch=(0.8, 1.5),
        contour=((0.92, 1.05), (0.96, 1.04), (0.9, 1.05)),
        voicing=(0.7, 1.0),
        aspiration=(0.0, 0.1),
        onset=(0.0, 0.05),
        jitter=(0.002, 0.015),
        shimmer=(0.01, 0.08),
        tremor_hz=(4, 7),
        tremor=(0.0, 0.015),
        roughness=(0.0, 0.05),
        vowels=("m", "u", "m"),
    ),
}
