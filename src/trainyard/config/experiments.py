"""Experiment files: the values of a Python file, those that its path implies, and the recipe beneath both.

`experiments/recanvo/whisper_base_lora_012.py` is a run of that name on that corpus; a file whose path implies
everything need not exist. The packages in `kinds` define what a name or a folder implies.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainyard.config import kinds
from trainyard.config.faults import Fault, show
from trainyard.config.fields import SELECTORS
from trainyard.config.names import EXPERIMENT, explain_name, parse_name
from trainyard.config.pyfile import PythonFile
from trainyard.config.recipes import Choice, Layer, read_recipe, selected_by_choice, shipped_recipes
from trainyard.wording import suggestion

_REMEDY = "Pass a file that exists, or a path made of a corpus and a model, such as recanvo/whisper_base_lora_012.py."


def read_experiment(path: str, faults: list[Fault], notes: list[str]) -> list[Layer]:
    """The layers of an experiment file, the lowest first.

    From the bottom: the recipes that the file and its bases name (else the one made for the model), the files of
    `_base_` in order, what the file's name implies for the model and its folder for the data, the file itself. The
    folder's name is the dataset unless a file sets another. The model of a recipe is dropped if the experiment has
    one: a recipe's model is chosen to train in minutes. Appends to `faults`, and remarks for the user to `notes`.
    """
    folder, stem = Path(os.path.abspath(path)).parent.name, Path(path).stem
    model, data = parse_name(stem), _from_folder(folder)
    layers: list[Layer] = []
    if os.path.lexists(path):
        layers = _read_python(Path(path), (), None, faults)
        if not layers:
            return []
    elif model is not None and data is not None:
        notes.append(f"There is no file {path}; training {stem} on {folder}, as its path implies.")
    else:
        why = [] if model is not None else [explain_name(stem)]
        # With neither a folder nor a model in the path, the current folder was not meant as a corpus.
        if data is None and (model is not None or Path(path).parent.name):
            corpora = [name for schema in kinds.schemas() for name in getattr(schema, "DATASETS", ())]
            why.insert(0, f"`{folder}` is not a corpus{suggestion(folder, corpora)}")
        what = f"there is no file {show(path)}, and its path does not name an experiment: {'; '.join(why)}"
        faults.append(Fault(what, obscures=tuple(SELECTORS), remedy=_REMEDY))
        return []

    given = [layer for layer in layers if not layer.shipped]
    values: dict[str, Any] = {} if model is None else {"model": model}
    if data is not None and not any(_selected(layer, "data") for layer in given):
        values["data"] = data
    of_path = Layer(lambda key: f"the name of {path}", values=values)
    given = [*given[:-1], of_path, *given[-1:]]
    selections = ((section, _selected(layer, section)) for layer in given for section in SELECTORS)
    chosen = {section: name for section, name in selections if name}  # the last layer counts
    # A base that sets a key of the section but not its kind must not be lost when the kind is set above it.
    selected = Layer(of_path.place, values={section: {SELECTORS[section]: name} for section, name in chosen.items()})
    # As data=fsdd would, for its features; a model made for this kind of data brings its features with it.
    packages = [kinds.package_of(section, chosen.get(section, "")) for section in ("data", "model")]
    if "data" in values and (packages[0] is None or packages[0] != packages[1]):
        selected = replace(selected, choices=(Choice("data", folder, of_path.place("data")),))
    layers = [*layers[:-1], of_path, *layers[-1:]]
    if not any("dataset" in _section(layer, "data") for layer in given):
        layers.append(Layer(lambda key: f"the folder of {path}", values={"data": {"dataset": folder}}))
    recipe = _recipe_beneath(chosen)
    beneath = [layer for layer in layers if layer.shipped]
    if not beneath and recipe in shipped_recipes():
        beneath = read_recipe(recipe, faults)
    own_corpus = any("corpus" in _section(layer, "data") for layer in given)
    for section, is_own in (("model", "model" in chosen), ("data", own_corpus)):
        if is_own:  # the recipe's values suit the recipe's section, not this one
            beneath = [_without(section, layer) for layer in beneath]
    return [*beneath, selected, *(layer for layer in layers if not layer.shipped)]


def _from_folder(folder: str) -> dict[str, Any] | None:
    """The `data` values that the folder of an experiment implies."""
    implied = (schema.from_folder(folder) for schema in kinds.schemas() if hasattr(schema, "from_folder"))
    return next((values for values in implied if values is not None), None)


def _recipe_beneath(chosen: Mapping[str, str]) -> str | None:
    """The recipe made for the chosen model and data, if there is one."""
    suited = (
        getattr(schema, "RECIPES", {}).get(chosen.get("model", ""))
        for schema in kinds.schemas()
        if "data" not in chosen or chosen["data"] in [member.source for member in schema.DATA]
    )
    return next((recipe for recipe in suited if recipe is not None), None)


def _without(section: str, layer: Layer) -> Layer:
    choices = tuple(choice for choice in layer.choices if choice.group != section)
    return replace(layer, choices=choices, values={key: value for key, value in layer.values.items() if key != section})


def _read_python(path: Path, seen: tuple[str, ...], place: str | None, faults: list[Fault]) -> list[Layer]:
    """The layers of a Python file, its own last; `seen` are the files that refer to it."""
    unread: dict[str, Any] = {"place": place, "obscures": tuple(SELECTORS)}
    identity, shown = str(path.resolve()), show(str(path))
    if identity in seen:
        faults.append(Fault(f"the file {shown} includes itself", **unread))
        return []
    try:
        source = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        faults.append(Fault(f"the file {shown} cannot be read: {reason}", **unread))
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
    for implied in (getattr(schema, "IMPLIED", {}) for schema in kinds.schemas()):
        for section, (key, member) in implied.items():
            if isinstance(values.get(section), dict) and key in values[section]:
                values[section] = {SELECTORS[section]: member, **values[section]}
    return [*layers, Layer(values=values, place=file.place)]


def _section(layer: Layer, section: str) -> dict[str, Any]:
    values = layer.values.get(section)
    return values if isinstance(values, dict) else {}


def _selected(layer: Layer, section: str) -> str | None:
    """Which member of a union a layer selects, by value or by choice."""
    name = _section(layer, section).get(SELECTORS[section])
    if isinstance(name, str):
        return name
    choice = next((choice.option for choice in layer.choices if choice.group == section), None)
    return None if choice is None else selected_by_choice(section, choice)
