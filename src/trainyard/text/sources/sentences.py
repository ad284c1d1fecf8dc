"""Generated sentences with emotions, for trying out text classification without a download.

Each sentence depends on the seed and its number alone. It has clauses of one or more emotions, mixed with
neutral clauses, denied emotions, and clauses that fit two emotions: a small model learns most of it in
seconds, but cannot learn all of it. Uses no files.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeVar

from trainyard.data.order import random_bits
from trainyard.errors import DataError
from trainyard.text.sources.labelled_texts import FoundText, Texts, labelled_texts
from trainyard.wording import did_you_mean, listed

T = TypeVar("T")

EMOTIONS = ("anger", "fear", "gratitude", "joy", "love", "neutral", "sadness", "surprise")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(" | "))


# {adjective} is one of the emotion's own, {thing} and {who} are any. The first clause of each is the one denied.
CLAUSES: dict[str, tuple[str, ...]] = {
    "anger": _words(
        "i am so {adjective} about {thing} | {thing} makes my blood boil | how dare {who} do this to us | "
        "i am sick of {who} and {thing} | {who} had no right to touch {thing} | i could scream at {who}"
    ),
    "fear": _words(
        "i am so {adjective} about {thing} | i dare not think of {thing} | what if {who} gets hurt | "
        "my heart was racing because of {thing} | i hid from {who} | {thing} gives me nightmares"
    ),
    "gratitude": _words(
        "i am so {adjective} for {thing} | thank you for {thing} | i owe {who} so much | many thanks to {who} | "
        "i appreciate what {who} did with {thing} | bless {who} for {thing}"
    ),
    "joy": _words(
        "i am so {adjective} about {thing} | {thing} made my whole week | we laughed all evening with {who} | "
        "what a wonderful day with {who} | i keep smiling because of {thing} | hooray for {thing}"
    ),
    "love": _words(
        "i am so {adjective} to {who} | i adore {who} | {who} means the world to me | i want to hold {who} for ever | "
        "i lost my heart to {who} | my darling brought {thing}"
    ),
    "neutral": _words(
        "{who} put {thing} on the list | the office opens at nine for {who} | {thing} is in the second drawer | "
        "{who} moved {thing} to monday | there are two copies of {thing} | {who} will read about {thing} next week"
    ),
    "sadness": _words(
        "i am so {adjective} about {thing} | i cried over {thing} | i miss {who} every day | "
        "nothing is the same without {who} | {thing} broke my heart | i feel empty since {who} left"
    ),
    "surprise": _words(
        "i am so {adjective} by {thing} | wow , {thing} came out of nowhere | nobody expected {thing} | "
        "i never thought {who} would come | who would have guessed that {who} has {thing} | {thing} caught me off guard"
    ),
}
ADJECTIVES = {
    "anger": ("angry", "furious", "mad"),
    "fear": ("afraid", "scared", "worried"),
    "gratitude": ("grateful", "thankful", "indebted"),
    "joy": ("happy", "glad", "delighted"),
    "love": ("devoted", "attached", "close"),
    "sadness": ("sad", "heartbroken", "miserable"),
    "surprise": ("surprised", "stunned", "amazed"),
}
# Clauses that fit both emotions; the sentence does not reveal which is meant.
EITHER = (
    ("anger", "surprise", "i cannot believe {thing}"),
    ("joy", "love", "{who} makes my heart sing"),
    ("fear", "sadness", "i could not sleep after {thing}"),
    ("gratitude", "joy", "{who} saved the day with {thing}"),
)
ASIDES = _words(
    "it was a tuesday | we met at the station | the rain had stopped by then | as {who} said before | "
    "somewhere between here and the lake | {who} was there as well | that was after lunch | so it goes with {thing}"
)
FRAGMENTS = ("order {number} , shelf {number}", "re : {thing} , page {number}", "{number} , {number} , {number}")
WHO = _words(
    "my sister | our neighbour | the new teacher | my boss | the doctor | my oldest friend | the team | grandma | "
    "the landlord | a stranger | my son | the driver | the whole class | my cousin | the coach | that singer"
)
THINGS = _words(
    "the letter | this exam | the broken window | our wedding | the news | the old dog | the last train | "
    "the test results | my birthday | the storm | this song | the phone call | the empty house | the new job | "
    "the garden | that film | the long queue | the surgery | the photo album | the football match"
)
JOINS = (" and ", " , but ", " . ", " ; ", " while ")
ENDS = ("", " .", " !", " ...", " 🙂", " 😭")


def load(count: int, *, classes: Sequence[str] | None = None, multi_label: bool = True, seed: int = 0) -> Texts:
    """Generates `count` distinct labelled sentences; the first n are the same for any larger count.

    A sentence has none to three of `classes` (by default all EMOTIONS) if `multi_label`, else exactly one.

    Raises:
        DataError: a class that is not one of EMOTIONS.
    """
    names = tuple(classes) if classes is not None else EMOTIONS
    for name in names:
        if name not in EMOTIONS:
            what = f"data.classes has {name!r}, which is not one of the generated emotions."
            remedy = did_you_mean(name, EMOTIONS, then=f"Use some of {listed(EMOTIONS)}.")
            raise DataError(what, remedy, value=name, place="data.classes")
    found: dict[str, FoundText] = {}
    for number in range(count):
        attempts = (_sentence(_Draws(seed, number, attempt), names, multi_label) for attempt in itertools.count())
        text, labels = next(made for made in attempts if made[0] not in found)
        found[text] = FoundText(f"sentence {number}", f"sentences[{number}]", text, labels)
    return labelled_texts("sentences", list(found.values()), names, multi_label=multi_label, on_bad_item="error")


class _Draws:
    """Random choices that depend on the seeds alone, in any version of NumPy; see `data.order`."""

    def __init__(self, *seeds: int) -> None:
        self._bits = random_bits(*seeds)

    def below(self, count: int) -> int:
        return int(self._bits.random_raw()) % count

    def chance(self, percent: int) -> bool:
        return self.below(100) < percent

    def one(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]


def _sentence(draw: _Draws, names: Sequence[str], multi_label: bool) -> tuple[str, tuple[str, ...]]:
    """A sentence, and its emotions in the order of its clauses."""
    if multi_label and draw.chance(4):
        return _filled(draw, draw.one(FRAGMENTS)), ()
    labels = [draw.one(names)]
    if multi_label and labels != ["neutral"]:
        for percent in (40, 15):
            more = draw.one(names)
            if draw.chance(percent) and more not in (*labels, "neutral"):
                labels.append(more)
    parts = [_clause(draw, label, names) for label in labels]
    if draw.chance(40):
        parts.insert(draw.below(len(parts) + 1), _filled(draw, draw.one(ASIDES)))
    denied = draw.one(names)
    if draw.chance(25) and denied in ADJECTIVES and denied not in labels:
        clause = CLAUSES[denied][0].replace("i am so", draw.one(("i am not", "i was never")))
        parts.insert(draw.below(len(parts) + 1), _filled(draw, clause, denied))
    text = parts[0]
    for part in parts[1:]:
        text += draw.one(JOINS) + part
    return text + draw.one(ENDS), tuple(labels)


def _clause(draw: _Draws, label: str, names: Sequence[str]) -> str:
    either = [clause for one, other, clause in EITHER if label in (one, other) and {one, other} <= set(names)]
    if either and draw.chance(10):
        return _filled(draw, draw.one(either))
    return _filled(draw, draw.one(CLAUSES[label]), label)


def _filled(draw: _Draws, clause: str, label: str = "") -> str:
    """A clause with its placeholders replaced."""
    if "{adjective}" in clause:
        clause = clause.replace("{adjective}", draw.one(ADJECTIVES[label]))
    while "{number}" in clause:
        clause = clause.replace("{number}", str(1000 + draw.below(9000)), 1)
    return clause.replace("{who}", draw.one(WHO)).replace("{thing}", draw.one(THINGS))
