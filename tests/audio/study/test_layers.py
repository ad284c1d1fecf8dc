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
    ("text", "said"),
    [
        ("7-13", "names layer 12, 13 of an encoder with 12 layers"),
        ("12-12", "names layer 12 of"),
        ("8-9999", "names layer 12 to 9999 of"),
        ("10", "reads as layers 1, 0, which do not ascend"),
        ("011", "reads as layers 0, 1, 1, which do not ascend"),
        ("5-3", "ends before it begins"),
        ("", "names no layers"),
        ("all", "names no layers"),
        ("-1", "names no layers"),
        ("1-", "names no layers"),
        ("1,2", "names no layers"),
        (" 1", "names no layers"),
        ("٣", "names no layers"),
        ("0-2-4", "names no layers"),
    ],
)
def test_other_texts_are_refused_with_the_layers_there_are(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_layers(text, 12)
    assert said in caught.value.what
    assert "The layers are 0 to 11" in caught.value.remedy


def test_a_digit_too_many_is_named() -> None:
    with pytest.raises(ConfigError, match="names layer 6, 9 of an encoder with 6 layers"):
        parse_layers("0569", 6)


def test_what_was_meant_by_ten_is_guessed() -> None:
    with pytest.raises(ConfigError, match="Write them as 01, and layer 10 alone as 10-10"):
        parse_layers("10", 12)
