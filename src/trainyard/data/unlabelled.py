"""Items to predict, without labels or splits: image files, recordings, folders of them, an `.npz`, or texts.

What a trained model takes is known, so items are brought to that shape. Knows no model and no run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainyard.audio.dataset import look_at
from trainyard.audio.decode import is_audio
from trainyard.audio.inputs import Frontend, Listening
from trainyard.data.arrays import InMemory
from trainyard.data.build import describe_bad
from trainyard.data.dataset import Fetch, Finish, Indices
from trainyard.data.folders import walk
from trainyard.data.tables import read_text
from trainyard.errors import DataError
from trainyard.images.files import ImageFiles, is_image
from trainyard.images.sources.npz import read_images
from trainyard.text.sources.gather import unusable
from trainyard.text.sources.reading import TABLES, as_name, read_records


@dataclass(frozen=True)
class Items:
    """Names, and a fetch from positions int64 [B] to float32 [B, *item_shape], or int64 [B, T] of texts.

    `finish` and `lengths` are there for sound, and `lengths` for texts, as in a `Dataset`.
    """

    ids: tuple[str, ...]
    fetch: Fetch
    finish: Finish | None = None
    lengths: Indices | None = None


def load_items(path: Path, item_shape: Sequence[int]) -> Items:
    """The items at `path`, in the shape that a model takes.

    Args:
        path: an image, a folder of images (at any depth), or an .npz with images.
        item_shape: channels, height, width; files are decoded and resized to it.

    Raises:
        DataError: nothing there, a file that is no image, or arrays of another shape.
    """
    if path.suffix == ".npz":
        names, tensors = read_images(path)
        if tuple(tensors.shape[1:]) != tuple(item_shape):
            raise DataError(
                f"{path} holds items of shape {tuple(tensors.shape[1:])}; the model takes {tuple(item_shape)}.",
                "Give items like those it was trained on.",
            )
        return Items(tuple(names), InMemory(tensors))
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and is_image(file))
        names = [file.relative_to(path).as_posix() for file in files]
    else:
        files, names = ([path], [path.name]) if path.is_file() else ([], [])
    if not files:
        raise DataError(f"There are no images at {path}.", "Name an image, a folder of images, or an .npz.")
    if len(item_shape) != 3 or item_shape[0] not in (1, 3):
        raise DataError(
            f"The model takes items of shape {tuple(item_shape)}, which image files do not have.", "Give an .npz."
        )
    images = ImageFiles(files, names, (item_shape[1], item_shape[2]), item_shape[0])
    bad = [(name, why) for name, (_, why) in zip(names, images.read_all(), strict=True) if why]
    if bad:
        raise DataError(f"Not every file is an image:{describe_bad(bad)}", "Take them out, or mend them.")
    return Items(tuple(names), images)


def load_clips(path: Path, listening: Listening, frontend: Frontend, cache_dir: Path, cache_mb: float) -> Items:
    """The recordings at `path`, as a model hears them.

    Args:
        path: a recording, or a folder of recordings (at any depth).
        listening: how a recording becomes a clip.
        frontend: what the model hears of it.
        cache_dir: where decoded sound and features are kept.
        cache_mb: how much of it.

    Raises:
        DataError: nothing there, or a file that cannot be used.
    """
    if path.is_dir():
        files = sorted(file for file in walk(path) if is_audio(file))
        names = [file.relative_to(path).as_posix() for file in files]
    else:
        files, names = ([path], [path.name]) if path.is_file() else ([], [])
    if not files:
        raise DataError(f"There are no recordings at {path}.", "Name a recording, or a folder of recordings.")
    looked = look_at(files, listening, frontend, cache_dir, cache_mb)
    bad = [(name, why) for name, why in zip(names, looked.faults, strict=True) if why]
    if bad:
        raise DataError(f"Not every file can be heard:{describe_bad(bad)}", "Take them out, or mend them.")
    every = np.arange(len(files), dtype=np.int64)
    lengths = looked.clips.lengths(every) if frontend.masked else None
    return Items(tuple(names), looked.clips, looked.clips.finish, lengths)


def load_texts(
    path: Path, *, text_column: str = "text", id_column: str | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names and the texts in a file.

    Args:
        path: a `.txt` with one text a line, where empty lines are passed over; or a table as for training, whose
            other columns are not looked at.
        text_column: of a table.
        id_column: of a table; None: texts are called by file and row, as in `new.csv:2`.

    Raises:
        DataError: nothing there, an unreadable file, or a text that is empty.
    """
    if path.suffix.lower() != ".txt" and path.suffix.lower() not in TABLES:
        what = f"{path} is no file of texts." if path.exists() else f"There is no file {path}."
        raise DataError(what, f"Give a .txt with one text a line, or a table: {', '.join(TABLES)}.")
    if path.suffix.lower() == ".txt":
        lines = enumerate((line.removesuffix("\r") for line in read_text(path).split("\n")), start=1)
        found = [(number, f"{path.name}:{number}", line) for number, line in lines if line.strip()]
    else:
        rows = read_records(path, text_column, [id_column] if id_column else [])
        found = [
            (
                number,
                as_name(path, number, id_column, row[id_column]) if id_column else f"{path.name}:{number}",
                row[text_column],
            )
            for number, row in rows
        ]
    if not found:
        raise DataError(f"{path} has no texts.", "Write one text a line.")
    bad = [(f"row {number}", why) for number, _, text in found if (why := unusable(text))]
    if bad:
        raise DataError(f"{path}: not every text can be used:{describe_bad(bad)}", "Take them out, or mend them.")
    return tuple(name for _, name, _ in found), tuple(text for _, _, text in found)
