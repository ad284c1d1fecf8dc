import io
import math
import struct
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.io.tests
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from trainyard.audio.decode import UnreadableAudio, decode, is_audio
from trainyard.errors import ConfigError

ODD = Path(scipy.io.tests.__file__).parent / "data"


def tone(seconds=1.0, rate=16000, channels=1, hertz=440.0):
    time = np.arange(int(seconds * rate)) / rate
    return np.stack([0.4 * np.sin(2 * np.pi * hertz * (n + 1) * time) for n in range(channels)], axis=1)


def encoded(samples, rate=16000, container="WAV", subtype=None):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def refusal(data, rate=16000, **limits):
    """The fault and the value that `decode` refuses some bytes with."""
    with pytest.raises(UnreadableAudio) as refused:
        decode(data, rate, **limits)
    return refused.value.fault, refused.value.value


def scaled(values):
    """What scipy read, as channels-last floats in [-1, 1]; its 8 bits are unsigned."""
    values = values.reshape(len(values), -1)
    if values.dtype == np.uint8:
        return (values.astype(np.float64) - 128) / 128
    if values.dtype.kind == "i":
        return values / 2.0 ** (8 * values.dtype.itemsize - 1)
    return values.astype(np.float64)


# scipy's own test files: what the oracle reads, or the fault and value we refuse it with.
READ = {
    "test-1234Hz-le-1ch-10S-20bit-extra.wav": (1234, 1, 10),
    "test-44100Hz-2ch-32bit-float-be.wav": (44100, 2, 441),
    "test-44100Hz-2ch-32bit-float-le.wav": (44100, 2, 441),
    "test-44100Hz-be-1ch-4bytes.wav": (44100, 1, 4410),
    "test-44100Hz-le-1ch-4bytes-rf64.wav": (44100, 1, 4410),
    "test-44100Hz-le-1ch-4bytes.wav": (44100, 1, 4410),
    "test-48000Hz-2ch-64bit-float-le-wavex.wav": (48000, 2, 480),
    "test-8000Hz-be-3ch-5S-24bit.wav": (8000, 3, 5),
    "test-8000Hz-le-2ch-1byteu.wav": (8000, 2, 800),
    "test-8000Hz-le-3ch-5S-24bit-rf64.wav": (8000, 3, 5),
    "test-8000Hz-le-3ch-5S-24bit.wav": (8000, 3, 5),
    "test-8000Hz-le-4ch-9S-12bit.wav": (8000, 4, 9),
    "test-8000Hz-le-5ch-9S-5bit.wav": (8000, 5, 9),
}
NO_DATA, UNIMPLEMENTED = "No 'data' chunk marker", "unimplemented format"  # libsndfile's words
REFUSED = {
    "test-44100Hz-le-1ch-4bytes-early-eof-no-data.wav": ("undecodable", NO_DATA),
    "test-44100Hz-le-1ch-4bytes-early-eof.wav": ("truncated", 944),  # bytes of samples, of 17640 declared
    "test-44100Hz-le-1ch-4bytes-incomplete-chunk.wav": ("undecodable", NO_DATA),
    "test-8000Hz-le-3ch-5S-36bit.wav": ("undecodable", UNIMPLEMENTED),
    "test-8000Hz-le-3ch-5S-45bit.wav": ("undecodable", UNIMPLEMENTED),
    "test-8000Hz-le-3ch-5S-53bit.wav": ("undecodable", UNIMPLEMENTED),
    "test-8000Hz-le-3ch-5S-64bit.wav": ("undecodable", UNIMPLEMENTED),
}
READ_WHERE_SCIPY_REFUSES = {"test-8000Hz-le-1ch-1byte-ulaw.wav", "test-8000Hz-le-3ch-5S-24bit-inconsistent.wav"}


def test_the_table_names_every_odd_file():
    here = {path.name for path in ODD.glob("*.wav")}
    assert here == READ.keys() | REFUSED.keys() | READ_WHERE_SCIPY_REFUSES
    assert len(here) == len(READ) + len(REFUSED) + len(READ_WHERE_SCIPY_REFUSES)


@pytest.mark.filterwarnings("ignore:Chunk .non-data. not understood")
@pytest.mark.parametrize("name", READ)
def test_odd_files_are_read_as_scipy_reads_them(name):
    rate, channels, frames = READ[name]
    oracle_rate, values = wavfile.read(ODD / name)
    data = (ODD / name).read_bytes()
    sound = decode(data, rate)
    assert (oracle_rate, scaled(values).shape, sound.shape) == (rate, (frames, channels), (frames,))
    assert sound.dtype == np.float32
    np.testing.assert_allclose(sound, scaled(values).mean(axis=1), atol=2e-7)
    assert np.abs(sound).max() <= 1


@pytest.mark.parametrize("name", REFUSED)
def test_broken_and_unsupported_files_are_refused_with_the_fault(name):
    with pytest.raises(UnreadableAudio) as caught:
        decode((ODD / name).read_bytes(), 16000)
    fault, value = REFUSED[name]
    assert caught.value.fault == fault
    assert value in caught.value.value if isinstance(value, str) else caught.value.value == value
    assert "BytesIO" not in str(caught.value)


def test_a_header_that_contradicts_itself_is_read_like_the_one_that_does_not():
    odd, plain = (
        decode((ODD / f"test-8000Hz-le-3ch-5S-24bit{end}.wav").read_bytes(), 8000) for end in ("-inconsistent", "")
    )
    np.testing.assert_array_equal(odd, plain)


def test_mu_law_is_expanded_as_g711_says():
    data = (ODD / "test-8000Hz-le-1ch-1byte-ulaw.wav").read_bytes()
    position = data.index(b"data")
    (size,) = struct.unpack_from("<I", data, position + 4)
    codes = ~np.frombuffer(data, np.uint8, size, position + 8) & 0xFF
    exponent, mantissa = (codes >> 4) & 7, (codes & 15).astype(np.int64)
    magnitude = ((mantissa * 8 + 132) << exponent.astype(np.int64)) - 132
    expected = np.where(codes & 128, -magnitude, magnitude) / 32768
    sound = decode(data, 8000)
    assert soundfile.info(io.BytesIO(data)).subtype == "ULAW"
    assert len(expected) == 9
    np.testing.assert_allclose(sound, expected, atol=1e-7)


@pytest.mark.parametrize(
    ("container", "subtype", "tolerance"),
    [
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_U8", 1e-2),
        ("WAV", "FLOAT", 1e-6),
        ("WAV", "ALAW", 2e-2),
        ("WAV", "IMA_ADPCM", 5e-2),
        ("WAVEX", "PCM_24", 1e-6),
        ("RF64", "PCM_16", 1e-4),
        ("FLAC", "PCM_16", 1e-4),
        ("OGG", "VORBIS", 5e-2),
        ("OGG", "OPUS", 5e-2),
        ("MP3", "MPEG_LAYER_III", 5e-2),
    ],
)
def test_every_container_gives_back_what_was_encoded(container, subtype, tolerance):
    samples = tone()
    sound = decode(encoded(samples, container=container, subtype=subtype), 16000)
    assert len(sound) >= len(samples)  # ADPCM fills its last block
    np.testing.assert_allclose(sound[200:15800], samples[200:15800, 0], atol=tolerance)


@pytest.mark.filterwarnings("ignore:.* is deprecated and slated for removal:DeprecationWarning")  # librosa's imports
@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_resampling_and_mixing_equal_librosas(tmp_path, rate):
    samples = tone(0.5, rate, channels=2)
    path = tmp_path / "a.wav"
    path.write_bytes(encoded(samples, rate))
    oracle, _ = librosa.load(path, sr=16000, mono=True, res_type="soxr_hq")
    sound = decode(path.read_bytes(), 16000)
    assert abs(len(sound) - len(oracle)) <= 1  # librosa rounds the length up
    count = min(len(sound), len(oracle))
    np.testing.assert_allclose(sound[:count], oracle[:count], atol=1e-6)
    assert sound.flags.c_contiguous


def test_channels_are_averaged_not_picked():
    left, right = np.full((100, 1), 0.5), np.full((100, 1), -0.25)
    sound = decode(encoded(np.hstack([left, right]), subtype="FLOAT"), 16000)
    np.testing.assert_array_equal(sound, np.full(100, 0.125, np.float32))


def test_eight_bits_are_unsigned():
    sound = decode(encoded(np.array([[-1.0], [0.0], [0.5]]), subtype="PCM_U8"), 16000)
    np.testing.assert_array_equal(sound, np.array([-1, 0, 0.5], np.float32))


def test_the_content_decides_whatever_the_file_is_called():
    flac = encoded(tone(0.1), container="FLAC")  # a .wav full of FLAC is handed over as these same bytes
    np.testing.assert_allclose(decode(flac, 16000), tone(0.1)[:, 0], atol=1e-4)
    assert is_audio(Path("a/b.WAV"))
    assert is_audio(Path("b.mp3"))
    assert not is_audio(Path("b.png"))
    assert not is_audio(Path("._b.wav"))


PNG = b"\x89PNG\r\n\x1a\n" + bytes(500)


@pytest.mark.parametrize(
    "data",
    [PNG, b"hello " * 999, bytes(5000), b"RIFF", b"ID3", b"\xff\xfb", np.arange(999, dtype="<i2").tobytes()[2:]],
    ids=["png", "text", "zeros", "RIFF alone", "ID3 alone", "MP3 sync alone", "raw samples"],
)
def test_what_is_not_audio_is_refused(data):
    with pytest.raises(UnreadableAudio) as refused:
        decode(data, 16000)
    assert refused.value.fault in ("not audio", "undecodable")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"RIFF\xff\0\0\0WAVEfmt \x10\0\0\0"]))
def test_arbitrary_bytes_raise_nothing_else(body, head):
    try:
        outcome = decode(head + body, 16000)
    except UnreadableAudio as error:
        outcome = str(error)
    assert len(outcome)


def test_an_empty_file_differs_from_a_recording_without_samples():
    assert refusal(b"") == ("empty file", None)
    assert refusal(encoded(np.zeros((0, 1)))) == ("no samples", None)


def test_other_containers_are_refused_by_name():
    assert refusal(encoded(tone(0.1), container="AIFF")) == ("not audio", None)
    assert refusal(encoded(tone(0.1), container="AU")) == ("not audio", None)
    tag = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10)
    assert refusal(tag + encoded(tone(0.1), container="AIFF")) == ("container", "AIFF")
    assert len(decode(tag + encoded(tone(0.1), container="FLAC"), 16000)) == 1600


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("container", ["WAV", "RF64", "FLAC", "OGG", "MP3"])
def test_a_truncated_file_is_refused_with_what_is_left_of_it(container, share):
    rng = np.random.default_rng(0)
    data = encoded(tone(3) + rng.normal(0, 0.05, (48000, 1)), container=container)
    decode(data, 16000)
    short = data[: int(len(data) * share)]
    fault, left = refusal(short)
    assert fault == "truncated"
    if container in ("WAV", "RF64"):  # bytes of samples
        assert left == len(short) - data.index(b"data") - 8
    else:  # samples, to the end of the last block that could be decoded
        assert 0 <= left < 48000


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_file_without_its_last_byte_is_refused(container):
    data = encoded(tone(1), container=container)
    with pytest.raises(UnreadableAudio):
        decode(data[:-1], 16000)


def test_an_ogg_file_cut_between_two_pages_is_refused():
    rng = np.random.default_rng(0)
    data = encoded(rng.normal(0, 0.1, (100_000, 1)), container="OGG")
    last = data.rindex(b"OggS")
    fault, samples = refusal(data[:last])
    assert fault == "truncated"
    assert 0 < samples < 100_000
    middle = data.rindex(b"OggS", 0, last)
    last_number = struct.unpack_from("<I", data, last + 18)[0]
    assert refusal(data[:middle] + data[last:]) == ("damaged", last_number)


@pytest.mark.parametrize("container", ["FLAC", "OGG"])
def test_bytes_that_changed_are_noticed_where_the_container_has_checksums(container):
    rng = np.random.default_rng(0)
    whole = encoded(rng.normal(0, 0.1, (48000, 1)), container=container)
    for share in (0.3, 0.5, 0.7, 0.99):
        data = bytearray(whole)
        data[int(share * len(data))] ^= 0xFF
        fault, _ = refusal(bytes(data))
        # FLAC: decoding stops at the damaged frame, and what was read until then is shorter than declared.
        assert fault == ("damaged" if container == "OGG" else "truncated")


def test_a_file_written_to_a_pipe_is_read_to_the_end():
    data = bytearray(encoded(tone(1)))
    struct.pack_into("<I", data, 4, 0xFFFF_FFFF)
    struct.pack_into("<I", data, data.index(b"data") + 4, 0xFFFF_FFFF)
    assert len(decode(bytes(data), 16000)) == 16000


def test_chunks_before_and_after_the_samples_are_ignored():
    data = encoded(tone(0.1))
    first = data.index(b"data")
    longer = data[:first] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + data[first:]
    assert len(decode(longer + b"LIST\4\0\0\0more", 16000)) == 1600
    assert refusal(longer[:-10]) == ("truncated", 3190)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_samples_that_are_not_finite_are_refused_with_the_first(value):
    samples = tone(0.1)
    samples[[7, 9]] = value
    assert refusal(encoded(samples, subtype="FLOAT")) == ("not finite", 7)


@pytest.mark.parametrize("rate", [0, 7, 900_000])
def test_an_impossible_sample_rate_is_refused(rate):
    data = bytearray(encoded(tone(0.1)))
    struct.pack_into("<I", data, 24, rate)
    assert refusal(bytes(data)) == ("sample rate", rate)


def test_a_file_above_the_limit_is_refused_without_decoding_it(monkeypatch):
    data = encoded(np.zeros((8000 * 600, 1)), 8000, "FLAC")
    assert len(decode(data, 16000)) == 16000 * 600
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("it was decoded"))
    assert refusal(data, max_seconds=300) == ("too long", 600)


def test_a_short_file_is_refused_below_the_limit():
    assert refusal(encoded(tone(0.005)), min_seconds=0.01) == ("too short", 0.005)
    assert refusal(encoded(np.full((1, 1), 0.5), 96000), 1000) == ("too short", 1 / 96000)


@pytest.mark.parametrize("name", ["soundfile", "soxr"])
def test_a_missing_library_names_the_extra_that_installs_it(monkeypatch, name):
    data = encoded(tone(0.1), 8000)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError) as caught:
        decode(data, 16000)
    assert name in caught.value.problems[0]
    assert "trainyard[audio]" in caught.value.remedy
