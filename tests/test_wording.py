"""Names that were probably meant, with difflib and typing mistakes as the oracles, and lists of names."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard.wording import did_you_mean, listed, nearest, similar, suggestion

words = st.text("abcdefghij", min_size=4, max_size=10)


@given(words, st.sets(words, max_size=8))
def test_what_difflib_finds_is_offered_in_its_order(word: str, choices: set[str]) -> None:
    found = difflib.get_close_matches(word, sorted(choices), n=3)
    if found:
        assert similar(word, sorted(choices)) == found
        assert nearest(word, sorted(choices)) == found[0]
        assert [word for word in did_you_mean(word, sorted(choices), limit=3).split("'") if word in choices] == found


@given(words, st.integers(0, 8), st.data())
def test_a_slip_of_the_finger_is_understood(word: str, at: int, data: st.DataObject) -> None:
    at = min(at, len(word) - 2)
    swapped = f"{word[:at]}{word[at + 1]}{word[at]}{word[at + 2 :]}"
    typed = data.draw(st.sampled_from([swapped, word[:at] + word[at + 1 :], f"{word}x", word.upper(), f" {word} "]))
    assert nearest(typed, [word, "z" * 9]) == word


@pytest.mark.parametrize(
    ("word", "choices", "meant"),
    [
        ("Recall", ["recall", "precision"], "recall"),
        ("eff", ["efficientnet_v2", "cnn"], "efficientnet_v2"),  # the only one that starts so
        ("w", ["whisper_base", "wavlm_large"], None),
        ("", ["a", "b"], None),
        ("", ["only"], None),
        ("x", [], None),
    ],
)
def test_nearest(word: str, choices: list[str], meant: str | None) -> None:
    assert nearest(word, choices) == meant
    assert bool(did_you_mean(word, choices)) == bool(meant)
    assert bool(suggestion(word, choices, few=0)) == bool(meant)


def test_few_choices_are_listed_and_many_are_not() -> None:
    few, many = ["b", "a"], [f"choice {number}" for number in range(13)]
    assert suggestion("zzz", few) == "; valid: a, b"
    assert suggestion("zzz", many) == ""
    assert suggestion("choice 99", many, few=13).count("choice") == 14


def test_names_with_quotes_and_newlines_stay_on_one_line() -> None:
    assert "\n" not in did_you_mean("it's\n a trp", ["it's\n a trap"])


@given(st.lists(words, max_size=9), st.integers(1, 9))
def test_listed(names: list[str], shown: int) -> None:
    text = listed(names, shown, empty="nothing")
    first, _, more = text.partition(" and ")
    assert first.split(", ") == (names[:shown] or ["nothing"])
    assert more == (f"{len(names) - shown} more" if len(names) > shown else "")
