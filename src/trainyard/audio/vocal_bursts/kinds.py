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
    """The ranges of one kind; each clip draws a value from each."""

    events: Range  # number of successive sounds
    event_s: Range  # length of each, seconds
    gap_s: Range  # silence between them, seconds
    attack_s: Range  # time from silence to full loudness, seconds
    hold: Range  # loudness at the end of an event, before it fades out; small for sounds that burst and decay
    fade: Range  # by how much each event is softer than the one before
    pitch: Range  # f0 relative to the speaker's
    start: Range  # factor of f0 at the beginning of the clip
    middle: Range  # the same in its middle
    end: Range  # the same at its end
    voicing: Range  # amplitude of the glottal pulses
    aspiration: Range  # amplitude of the breath noise
    onset: Range  # share of an event before voicing starts
    jitter: Range  # deviation of f0 from cycle to cycle
    shimmer: Range  # deviation of the amplitude from cycle to cycle
    tremor_hz: Range  # rate of the modulation of f0
    tremor: Range  # depth of that modulation
    # Depth of the amplitude modulation at 40 to 120 Hz that makes screams alarming (Arnal et al., "Human screams
    # occupy a privileged niche in the communication soundscape", 2015).
    roughness: Range
    vowels: tuple[str, ...]  # that the mouth passes through, from `VOWELS`


# laugh: puffs of voice, each with a breathy onset, about five a second, falling in pitch and loudness.
# cry: high wails that rise, waver and fall, one breath after another.
# scream: one long sound, very high and rough, loud from the start.
# sigh: breath let out: noise with little or no voice, slow to swell and slow to die.
# groan: a low, creaking voice with irregular cycles.
# gasp: a sharp intake of breath: short noise that swells until it stops.
# cough: bursts of noise with a short voiced tail, two or three per breath.
# yawn: long; the mouth opens wide and closes again while a breathy voice rises and falls.
# moan: a smooth voice at the speaker's own pitch, rising a little and falling.
# hum: closed mouth: steady pitch, no breath, little energy above the first formant.
_TABLE = """
kind        laugh     cry       scream    sigh      groan    gasp     cough      yawn       moan       hum
events      3:9       1:3       1:1       1:1       1:1      1:2      1:4        1:1        1:2        1:4
event_s     .08:.2    .4:1.1    .6:1.8    .6:1.6    .6:1.8   .25:.7   .12:.35    1.1:2.2    .5:1.4     .3:1
gap_s       .05:.16   .08:.3    0:0       0:0       0:0      .1:.3    .06:.3     0:0        .08:.3     .02:.15
attack_s    .01:.04   .03:.12   .015:.08  .06:.3    .03:.15  .04:.2   .002:.012  .1:.4      .05:.25    .03:.1
hold        .3:.8     .5:.9     .7:1      .15:.5    .4:.9    .45:1    .03:.3     .3:.8      .4:.9      .6:1
fade        0:.14     -.1:.2    0:0       0:0       0:0      0:.3     0:.25      0:0        0:.2       -.1:.1
pitch       1.1:2.2   1.4:2.6   2.2:4.5   .8:1.3    .55:.95  1.2:2.2  .9:1.5     .8:1.4     .85:1.5    .8:1.5
start       .95:1.3   .75:1     .75:1     1.05:1.3  .9:1.15  .8:.95   1:1.2      .7:.95     .85:1      .92:1.05
middle      .95:1.1   1:1.3     .95:1.15  .9:1.05   .95:1.1  1:1.15   .9:1.05    1:1.3      1:1.2      .96:1.04
end         .7:.95    .6:.9     .75:1.05  .6:.85    .65:.9   1.1:1.4  .7:.9      .55:.8     .7:.9      .9:1.05
voicing     .5:1      .6:1      .7:1      0:.25     .6:1     0:.3     .1:.6      .2:.7      .6:1       .7:1
aspiration  .1:.5     .03:.2    .05:.3    .4:1      .05:.25  .4:1     .5:1       .2:.7      .05:.3     0:.1
onset       .05:.3    0:.08     0:.03     0:.3      0:.05    .1:.5    .1:.4      .05:.3     0:.1       0:.05
jitter      .005:.03  .01:.035  .01:.06   .005:.02  .02:.08  .01:.03  .02:.06    .005:.025  .004:.025  .002:.015
shimmer     .02:.15   .05:.2    .1:.3     .03:.1    .12:.4   .05:.15  .1:.3      .03:.12    .03:.15    .01:.08
tremor_hz   4:7       5:9       4:9       3:6       3:6      3:6      3:6        3:6        4:7        4:7
tremor      0:.02     .015:.07  0:.03     0:.02     0:.03    0:.02    0:.01      0:.02      0:.03      0:.015
roughness   0:.2      0:.35     .2:.9     0:.05     .05:.5   0:.15    0:.4       0:.1       0:.15      0:.05
vowels      schwa:a   ae:a:ae   a:ae      a:schwa   schwa:o  e:ae     schwa:o    u:a:a:u    o:a:o      m:u:m
"""


def _read(table: str) -> dict[str, Kind]:
    (_, *parameters), *columns = zip(*map(str.split, table.strip().splitlines()), strict=True)
    kinds = {}
    for name, *cells in columns:
        *ranges, vowels = (cell.split(":") for cell in cells)
        values = {key: (float(low), float(high)) for key, (low, high) in zip(parameters[:-1], ranges, strict=True)}
        kinds[name] = Kind(**values, vowels=tuple(vowels))
    return kinds


KINDS: Mapping[str, Kind] = _read(_TABLE)
