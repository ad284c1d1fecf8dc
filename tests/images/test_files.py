import io
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_images import image_tree

from trainyard.errors import DataError
from trainyard.images.files import ImageFiles, UnreadableImage, decode, is_image


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(mode, size=(20, 14), seed=0):
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.fromarray(values.squeeze(), mode=None).convert(mode)


def files(tmp_path, cache_mb=512.0, count=6):
    paths = image_tree(tmp_path, ("a", "b"), count // 2, (10, 8), channels=3)
    return ImageFiles(paths, [path.name for path in paths], (6, 7), 3, cache_mb), paths


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_pillows(mode, channels):
    form = "TIFF" if mode == "CMYK" else "PNG"
    data = encoded(noise(mode), form)
    want = Image.open(io.BytesIO(data)).convert("L" if channels == 1 else "RGB")
    want = np.asarray(want.resize((9, 5), Image.Resampling.BILINEAR))
    got = decode(data, (5, 9), channels)
    assert got.shape == (channels, 5, 9)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got.transpose(1, 2, 0), want.reshape(5, 9, channels))


def test_an_image_of_the_right_size_is_not_resampled():
    image = noise("L")
    np.testing.assert_array_equal(decode(encoded(image), (14, 20), 1)[0], np.asarray(image))


def test_sixteen_bit_greys_are_scaled_and_not_clipped():
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    got = decode(encoded(Image.fromarray(values)), (64, 64), 1)[0]
    np.testing.assert_array_equal(got, values // 256)


def test_a_palette_with_transparency_is_read_without_a_warning():
    image = noise("RGB").quantize(16)
    data = encoded(image, transparency=bytes([0, 128] + [255] * 14))
    np.testing.assert_array_equal(decode(data, (14, 20), 3).transpose(1, 2, 0), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("data", "fault", "reason"),
    [
        (b"", "empty file", ""),
        (b"not an image at all", "not an image", ""),
        (encoded(noise("RGB"))[:-60], "undecodable", "truncated"),  # Pillow's word
        (encoded(noise("RGB", (200, 200)), "JPEG")[:3000], "undecodable", "truncated"),
        (encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "pixel type", ""),
    ],
)
def test_what_is_not_a_complete_image_is_refused_with_the_fault(data, fault, reason):
    with pytest.raises(UnreadableImage) as raised:
        decode(data, (8, 8), 3)
    assert raised.value.fault == fault
    assert reason in str(raised.value)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]),
    st.integers(0, 400),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4),
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
def test_damaged_files_are_decoded_or_refused_and_nothing_else(form, cut, flips):
    data = bytearray(encoded(noise("RGB"), form))
    for position, value in flips:
        data[position % len(data)] ^= value
    try:
        assert decode(bytes(data[: len(data) - cut]), (8, 8), 3).shape == (3, 8, 8)
    except UnreadableImage as error:
        assert str(error)  # noqa: PT017  (either outcome is right)


@pytest.mark.parametrize(
    ("name", "wanted"), [("a.png", True), ("a.JPG", True), ("._a.png", False), ("a.txt", False), ("png", False)]
)
def test_images_are_known_by_their_suffix(tmp_path, name, wanted):
    assert is_image(tmp_path / name) is wanted


@pytest.mark.parametrize("cache_mb", [0, 3 * 6 * 7 * 4 / 2**20, 512])
def test_a_fetch_is_the_same_with_any_cache(tmp_path, cache_mb):
    fetch, paths = files(tmp_path, cache_mb)
    want = np.stack([decode(path.read_bytes(), (6, 7), 3) for path in paths])
    for order in ([5, 0, 3, 3], [0, 1, 2, 3, 4, 5], []):
        got = fetch(np.array(order, dtype=np.int64))
        assert got.dtype == torch.float32
        np.testing.assert_array_equal(got.numpy(), want[order].astype(np.float32) / np.float32(255))
    assert [fault for _, fault in fetch.read_all()] == [""] * 6
    np.testing.assert_array_equal(fetch.raw(np.arange(6)).numpy(), want)


def test_what_fits_is_cached_and_the_rest_is_read_again(tmp_path):
    fetch, paths = files(tmp_path, 3 * 6 * 7 * 4 / 2**20)
    fetch.read_all()
    assert fetch.cached(np.arange(4))
    assert not fetch.cached(np.arange(6))
    for path in paths[:5]:
        path.unlink()
    assert fetch(np.array([0, 5, 3])).shape == (3, 3, 6, 7)
    with pytest.raises(DataError) as raised:
        fetch(np.array([0, 4]))
    assert raised.value.place == str(paths[4])
    assert raised.value.remedy


def test_a_subset_is_renumbered_and_shares_the_cache(tmp_path):
    fetch, _ = files(tmp_path)
    fetch.read_all()
    want = fetch(np.array([4, 1]))
    part = fetch.subset(np.array([4, 1]))
    assert part.cached(np.arange(2))
    torch.testing.assert_close(part(np.arange(2)), want, rtol=0, atol=0)


def test_a_fetch_can_be_sent_to_another_process(tmp_path):
    fetch, _ = files(tmp_path)
    fetch.read_all()
    copy = pickle.loads(pickle.dumps(fetch))
    assert not copy.cached(np.arange(1))
    torch.testing.assert_close(copy(np.arange(6)), fetch(np.arange(6)), rtol=0, atol=0)
    assert copy.cached(np.arange(6))


def test_pixels_decoded_by_a_forked_process_are_found_here(tmp_path):
    fetch, _ = files(tmp_path)
    with ProcessPoolExecutor(1, mp_context=get_context("fork"), initializer=_hold, initargs=(fetch,)) as pool:
        assert pool.submit(_decode_two).result() == 2
    assert fetch.cached(np.array([2, 5]))
    assert not fetch.cached(np.array([0]))


def _hold(fetch):
    global _held
    _held = fetch


def _decode_two():
    return len(_held.raw(np.array([2, 5])))
