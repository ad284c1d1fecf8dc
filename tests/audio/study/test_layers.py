from __future__ import annotations

import pytest

from trainyard.audio.study.layers import parse_layers
from trainyard.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "n_layers", "layers"),
    [
        (None, 3, (0, 1, 2)),
        ("012", 6, (0, 1, 2)),
        ("0", 1, (0,)),
        ("05", 6, (0, 5)),
        ("0-5", 6, (0, 1, 2, 3, 4, 5)),
        ("10-10", 12, (10,)),
        ("7-11", 12, (7, 8, 9, 10, 11)),
    ],
)
def test_layers_are_named_by_digits_or_by_a_range(text: str | None, n_layers: int, layers: tuple[int, ...]) -> None:
    assert parse_layers(text, n_layers) == (layers, None)


def test_a_range_that_ends_one_past_the_last_layer_is_clipped_with_a_warning() -> None:
    layers, warning = parse_layers("7-12", 12)
    assert layers == (7, 8, 9, 10, 11)
    assert warning == "model.layers='7-12' ends one past the last layer, 11: layers 7 to 11 are used."
    assert parse_layers("0-4", 4)[0] == (0, 1, 2, 3)


@pytest.mark.parametrize(
    "text", ["7-13", "12-12", "8-9999", "10", "011", "5-3", "", "all", "-1", "1-", "1,2", " 1", "٣", "0-2-4"]
)
def test_other_texts_are_refused_with_the_layers_there_are(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_layers(text, 12)
    assert caught.value.keys == ("model.layers",)
    assert repr(text) in caught.value.what
    assert "0 to 11" in caught.value.remedy


def test_a_digit_too_many_is_named() -> None:
    with pytest.raises(ConfigError, match="names layer 6, 9 of an encoder with 6 layers"):
        parse_layers("0569", 6)


def test_what_was_meant_by_ten_is_guessed() -> None:
    with pytest.raises(ConfigError, match="Write them as 01, and layer 10 alone as 10-10"):
        parse_layers("10", 12)
