"""Experiment files: what a Python file says, what its path says, and the recipe beneath both.

`experiments/recanvo/whisper_base_lora_012.py` is a run of that name on that corpus; a file whose path says
everything need not exist. Reads files and orders layers; merging them is the business of `compose`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainyard.audio.study.names import CORPORA, ENCODERS, EXPERIMENT, explain_name, parse_name
from trainyard.config.faults import Fault, show, suggestion
from trainyard.config.fields import SELECTORS
from trainyard.config.pyfile import PythonFile
from trainyard.config.recipes import Choice, Layer, read_recipe, shipped_recipes

# The recipe beneath a model, where no recipe is named.
_BENEATH = {
    "encoder": "vocalizations",
    "efficientnet_v2": "spectrogram",
    "panns_cnn14": "spectrogram",
    "mobilenet_v2": "spectrogram",
}
# Keys that one member of a union alone has, so that a file need not say which it is.
_TELLING = {"model": ("type", "encoder"), "data": ("corpus", "audio")}
_REMEDY = "Name a file that is there, or one called after a corpus and a model, as recanvo/whisper_base_lora_012.py."


def read_experiment(path: str, faults: list[Fault], notes: list[str]) -> list[Layer]:
    """The layers of an experiment file, the lowest first.

    From below: the recipes that the file and its bases name (else the one made for the model), the files of
    `_base_` in order, what the file's name says of the model and its folder of the data, the file itself. The
    folder's name is the dataset where no file says another. Of a recipe beneath, the model does not count
    where the experiment has one: it is there to be trained in minutes.

    Args:
        path: of a `.py` file, which need not exist when its stem is a model's name and its folder a corpus.
        faults: added to.
        notes: added to: what a reader of the command line should know.
    """
    folder, stem = Path(os.path.abspath(path)).parent.name, Path(path).stem
    model = parse_name(stem)
    layers: list[Layer] = []
    if os.path.lexists(path):
        layers = _read_python(Path(path), (), None, faults)
        if not layers:
            return []
    elif model is not None and folder in CORPORA:
        notes.append(f"There is no file {path}: it stands for {stem} on {folder}, as its path says.")
    else:
        why = []
        # where neither a folder nor a model was named, the folder we are in is no attempt at a corpus
        if folder not in CORPORA and (model is not None or Path(path).parent.name):
            why.append(f"`{folder}` is no corpus{suggestion(folder, CORPORA)}")
        why += [] if model is not None else [explain_name(stem)]
        says = f"there is no file {show(path)}, and its path names no experiment: {'; '.join(why)}"
        faults.append(Fault(says, clouds=tuple(SELECTORS), remedy=_REMEDY))
        return []

    given = [layer for layer in layers if not layer.shipped]
    said: dict[str, Any] = {} if model is None else {"model": model}
    if folder in CORPORA and not any(_selected(layer, "data") for layer in given):
        said["data"] = {"source": "audio", "corpus": folder}
    of_path = Layer(lambda key: f"the name of {path}", values=said)
    given = [*given[:-1], of_path, *given[-1:]]
    chosen = {section: name for section in SELECTORS if (name := _last_selected(given, section))}
    # A base that says a key of the section and not its kind must not be lost when the kind is said above it.
    kinds = Layer(of_path.place, values={section: {SELECTORS[section]: name} for section, name in chosen.items()})
    if "data" in said and chosen.get("model") != "encoder":  # as data=fsdd would: its features suit networks alone
        kinds = replace(kinds, choices=(Choice("data", folder, of_path.place("data")),))
    layers = [*layers[:-1], of_path, *layers[-1:]]
    if not any("dataset" in _section(layer, "data") for layer in given):
        layers.append(Layer(lambda key: f"the folder of {path}", values={"data": {"dataset": folder}}))
    recipe = _BENEATH.get(chosen.get("model", "")) if chosen.get("data", "audio") == "audio" else None
    beneath = [layer for layer in layers if layer.shipped]
    if not beneath and recipe in shipped_recipes():
        beneath = read_recipe(recipe, faults)
    own_corpus = any("corpus" in _section(layer, "data") for layer in given)
    for section, is_own in (("model", "model" in chosen), ("data", own_corpus)):
        if is_own:  # what the recipe says suits its own
            beneath = [_without(section, layer) for layer in beneath]
    return [*beneath, kinds, *(layer for layer in layers if not layer.shipped)]


def _last_selected(layers: Sequence[Layer], section: str) -> str | None:
    """Which member of a union the layers together say the section is."""
    return next((name for layer in reversed(layers) if (name := _selected(layer, section))), None)


def _without(section: str, layer: Layer) -> Layer:
    choices = tuple(choice for choice in layer.choices if choice.group != section)
    return replace(layer, choices=choices, values={key: said for key, said in layer.values.items() if key != section})


def _read_python(path: Path, seen: tuple[str, ...], place: str | None, faults: list[Fault]) -> list[Layer]:
    """The layers of a Python file, its own last; `seen` are the files that led here."""
    unread: dict[str, Any] = {"place": place, "clouds": tuple(SELECTORS)}
    identity = str(path.resolve())
    if identity in seen:
        faults.append(Fault(f"the file {show(str(path))} builds on itself", **unread))
        return []
    try:
        source = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        faults.append(Fault(f"the file {show(str(path))} cannot be read: {reason}", **unread))
        return []
    file = PythonFile(str(path), source)
    faults.extend(file.faults)
    layers: list[Layer] = []
    for base in file.bases:
        named = file.place("_base_")
        if base.endswith(EXPERIMENT):
            layers += _read_python(path.parent / base, (*seen, identity), named, faults)
        else:
            layers += read_recipe(base, faults, folder=path.parent, seen=(*seen, identity), place=named)
    values = dict(file.values)
    for section, (key, member) in _TELLING.items():
        if isinstance(values.get(section), dict) and key in values[section]:
            values[section] = {SELECTORS[section]: member, **values[section]}
    return [*layers, Layer(values=values, place=file.place)]


def _section(layer: Layer, section: str) -> dict[str, Any]:
    said = layer.values.get(section)
    return said if isinstance(said, dict) else {}


def _selected(layer: Layer, section: str) -> str | None:
    """Which member of a union a layer says the section is, by value or by choice."""
    said = _section(layer, section).get(SELECTORS[section])
    chosen = next((choice.option for choice in layer.choices if choice.group == section), None)
    if isinstance(said, str) or chosen is None:
        return said if isinstance(said, str) else None
    if section == "data":
        return chosen if chosen in ("digits", "npz", "image_folder", "csv") else "audio"
    return "encoder" if chosen in ENCODERS else str((parse_name(chosen) or {"name": chosen})["name"])
