"""Every experiment of the speech encoders: type x size x method x layers x corpus, by the grammar of names.

The grid is computed, not stored: an experiment's path implies the contents of its file, so the file need not exist,
and is written only to be edited. Knows no runs and no yard.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from trainyard.audio.schema import ENCODERS, METHODS
from trainyard.audio.study.layers import parse_layers
from trainyard.config.names import EXPERIMENT, explain_name, parse_name
from trainyard.errors import ConfigError, DiskFullError, UserError
from trainyard.wording import suggestion

DATASETS = ("asvp_esd", "asvp_esd_babies", "cnvve", "nonverbal_vocalization_dataset", "recanvo", "vivae", "donateacry")
_SIGNS = frozenset("*?[")
_FEW = 3  # up to this many layers are written as 012, more as a range


@dataclass(frozen=True)
class Experiment:
    """One cell of the grid: a model's name and the corpus it trains on."""

    dataset: str
    name: str

    @property
    def path(self) -> str:
        """The file's path below the folder of experiments."""
        return f"{self.dataset}/{self.name}{EXPERIMENT}"


@dataclass(frozen=True)
class Written:
    """The result of writing the files: new paths, existing ones with the same contents, and those that differ."""

    new: list[Path]
    same: list[Path]
    changed: list[Path]


def layer_sets(count: int) -> tuple[str, ...]:
    """The halves and, if divisible, the thirds of `count` layers, in the syntax of `model.layers`."""
    sets = []
    for size in (count // parts for parts in (2, 3) if count % parts == 0):
        for first in range(0, count, size):
            last = first + size - 1
            single = size <= _FEW and last <= 9
            sets.append("".join(map(str, range(first, last + 1))) if single else f"{first}-{last}")
    return tuple(sets)


def names() -> Iterator[str]:
    """The name of every model of the grid: each type, size and method, for all layers and for parts of them."""
    for kind, sizes in ENCODERS.items():
        for size, count in sizes.items():
            for method in METHODS:
                yield f"{kind}_{size}_{method}"
                if method != "frozen":  # it changes no layer
                    yield from (f"{kind}_{size}_{method}_{layers}" for layers in layer_sets(count))


def grid(datasets: Iterable[str] = (), models: Iterable[str] = ()) -> list[Experiment]:
    """The experiments, by corpus and then in the order of `names`.

    Args:
        datasets: corpora to keep; all if empty.
        models: patterns of names to keep, with `*` and `?`; a word without them is a name or a prefix:
            `whisper_base` matches every `whisper_base_…`. All if empty.

    Raises:
        ConfigError: a corpus that is not in the grid, or a pattern that no name matches.
    """
    datasets, patterns, known = tuple(datasets), tuple(models), tuple(names())
    problems = [
        f"`{dataset}` is not a corpus of the grid{suggestion(dataset, DATASETS)}"
        for dataset in datasets
        if dataset not in DATASETS
    ]
    for pattern in patterns:
        if not any(_fits(name, pattern) for name in known):
            why = "" if set(pattern) & _SIGNS or parse_name(pattern) else f": {explain_name(pattern)}"
            problems.append(f"no name of the grid matches `{pattern}`{why}")
    if problems:
        remedy = "`trainyard experiments` lists the grid; names outside it can be trained too."
        raise ConfigError(problems, remedy, keys=[*datasets, *patterns])
    kept = [name for name in known if not patterns or any(_fits(name, pattern) for pattern in patterns)]
    return [Experiment(dataset, name) for dataset in DATASETS if dataset in (datasets or DATASETS) for name in kept]


def layers_of(name: str) -> tuple[int, ...]:
    """The layers that the method of a model of the grid changes; none if it is frozen."""
    model = _model(name)
    if model["method"] == "frozen":
        return ()
    return parse_layers(model["layers"], ENCODERS[model["type"]][model["size"]])[0]


def experiment_text(dataset: str, name: str) -> str:
    """The contents of an experiment's file: the values that its path implies, to be edited.

    Raises:
        ConfigError: the name is not a model's.
    """
    model = ", ".join(f"{key}={_literal(value)}" for key, value in _model(name).items() if value is not None)
    return (
        f'"""{name} on {dataset}: `trainyard train {dataset}/{name}{EXPERIMENT} data.path=…`."""\n\n'
        f'data = dict(source="audio", corpus="{dataset}")\n'
        f"model = dict({model})\n"
    )


def write_experiments(folder: Path, experiments: Iterable[Experiment]) -> Written:
    """Writes the files of experiments below `folder`; existing files are kept.

    Raises:
        UserError: a file or folder cannot be created.
        DiskFullError: the disk is full; the files written so far are kept.
    """
    written = Written([], [], [])
    for experiment in experiments:
        path, text = folder / experiment.path, experiment_text(experiment.dataset, experiment.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(path):
                (written.same if _is(path, text) else written.changed).append(path)
            else:
                _write_new(path, text)
                written.new.append(path)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            what = f"{path} cannot be written: {error.strerror}."
            if full:
                remedy = "Free space and repeat the command; existing files are kept."
                raise DiskFullError(what, remedy, value=str(folder), place=path) from error
            raise UserError(what, "Choose another folder.", value=str(folder), place=path) from error
    return written


def _write_new(path: Path, text: str) -> None:
    """Writes a file that must not exist yet; removes it if writing fails."""
    with path.open("x", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
        except OSError:
            path.unlink()
            raise


def _is(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode("utf-8")
    except OSError:  # a folder, or unreadable: its contents differ
        return False


def _fits(name: str, pattern: str) -> bool:
    if set(pattern) & _SIGNS:
        return fnmatchcase(name, pattern)
    return name == pattern or name.startswith(f"{pattern}_")


def _model(name: str) -> dict[str, Any]:
    model = parse_name(name)
    if model is None:
        remedy = "Names are {type}_{size}_{method}[_{layers}]."
        raise ConfigError([f"`{name}` is not a model's name"], remedy, keys=[name])
    return model


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
