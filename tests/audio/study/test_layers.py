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
    ("text", "refused"),
    [
        ("7-13", (12, 13)),
        ("12-12", (12,)),
        ("8-9999", tuple(range(12, 10000))),
        ("10", (1, 0)),
        ("011", (0, 1, 1)),
        ("5-3", (5, 3)),
        ("", ""),
        ("all", "all"),
        ("-1", "-1"),
        ("1-", "1-"),
        ("1,2", "1,2"),
        (" 1", " 1"),
        ("٣", "٣"),
        ("0-2-4", "0-2-4"),
    ],
)
def test_other_texts_are_refused_with_the_layers_there_are(text: str, refused: str | tuple[int, ...]) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_layers(text, 12)
    assert raised.value.value == refused
    assert raised.value.keys == ("model.layers",)
    assert "0 to 11" in raised.value.remedy


def test_a_digit_too_many_is_named() -> None:
    with pytest.raises(ConfigError) as raised:
        parse_layers("0569", 6)
    assert raised.value.value == (6, 9)
    assert "0 to 5" in raised.value.remedy


def test_layers_out_of_order_are_refused_with_their_spelling_in_the_remedy() -> None:
    with pytest.raises(ConfigError) as raised:
        parse_layers("10", 12)
    assert "Write them as 01," in raised.value.remedy
    assert "10-10" in raised.value.remedy
