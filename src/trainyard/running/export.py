"""Exports of a trained run: ONNX, int8 with its loss in accuracy, and a speech encoder's adapter or merged model.

Exports go to the layout's place for them, are compared with the model on the run's own data, and are recorded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainyard import durable
from trainyard.analysis.scoring import Rule
from trainyard.assembly.setup import Setup
from trainyard.assembly.trained import Trained
from trainyard.config import kinds
from trainyard.errors import DiskFullError, TrainyardError, UserError
from trainyard.models.quantize import QuantAware
from trainyard.runs import RunReader, RunWriter, amend

if TYPE_CHECKING:
    from trainyard.export.onnx import Parity

_COMPARED = 64  # items on which an exported file is compared with the model


def export_run(
    reader: RunReader, format_: str, *, checkpoint: str | None = None, trust: bool = False
) -> list[tuple[Path, str]]:
    """Exports a run's checkpoint; returns each file or folder, with a description of the measurements.

    Args:
        reader: the run.
        format_: onnx; int8 for models trained with model.qat=true; adapter (peft) or merged (transformers) for
            a speech encoder.
        checkpoint: best (None), last, or a step.
        trust: accept `_target_` objects outside the allow-list, which can run any code.

    Raises:
        UserError: the run's model does not support the format, or that folder exists already.
        ChangedDataError: the data is not what the run was trained on; ONNX is compared on it.
        TrainyardError: the exported file does not give the model's outputs; nothing is kept.
    """
    opened = Trained.open(reader, checkpoint, device="cpu", trust=trust)
    if format_ in ("adapter", "merged"):  # needs no data
        with amend(reader.yard, reader.home) as run:
            return _folder(opened, run, format_)
    setup = opened.setup
    with amend(reader.yard, reader.home) as run:
        return _write(setup, run, format_, opened.step, opened.loaded.decision)


def export_quantised(setup: Setup, run: RunWriter, step: int) -> list[tuple[Path, str]]:
    """The result of a quantisation-aware training: float and int8 ONNX, and a table that compares them.

    A failure is only a warning of the run: `trainyard export` can repeat the export.
    """
    if not isinstance(setup.model, QuantAware) or not run.keeps("exports"):
        return []
    try:
        return _write(setup, run, "int8", step)
    except DiskFullError:
        raise
    except TrainyardError as error:
        run.warn(f"There is no int8 export: {error.what} {error.remedy}")
        return []


def write_onnx(setup: Setup, path: Path, run: str, step: int) -> Parity:
    """Writes the model as a float ONNX file, and its description beside it, compared on the run's own data.

    `run`, its id, and `step`, of the weights, are for the description.

    Raises:
        ConfigError: a library is missing.
        TrainyardError: the model cannot be exported, or the file gives other outputs: nothing is written.
    """
    from trainyard.export.onnx import export_onnx

    details, inputs = _details(setup, run, step), _items(setup)[:_COMPARED]
    return export_onnx(setup.model, inputs, path, classes=setup.dataset.classes, tolerance=1e-3, details=details)


def _write(setup: Setup, run: RunWriter, format_: str, step: int, rule: Rule | None = None) -> list[tuple[Path, str]]:
    """The ONNX file; for int8, also a file in int8 and a table that compares the two."""
    if format_ == "int8" and not isinstance(setup.model, QuantAware):
        remedy = "Train it with model.qat=true, or export --format onnx."
        raise UserError(f"Run {run.name} was not trained for int8.", remedy, value=format_, place=run.name)
    stem, dataset, kind = _stem(run, step), setup.dataset, _kind(setup)
    path = stem.with_name(f"{stem.name}.onnx")
    if hasattr(kind, "write_onnx"):  # a model with several inputs
        assert dataset.lengths is not None
        chosen = dataset.indices(_compared_on(setup))[:_COMPARED]
        items, lengths = dataset.fetch(chosen), torch.from_numpy(dataset.lengths[chosen])
        details = _details(setup, run.id, step)
        parity = kind.write_onnx(setup.model, items, lengths, path, classes=dataset.classes, rule=rule, details=details)
        of_items = "texts; takes ids and a mask"
    else:
        parity = write_onnx(setup, path, run.id, step)
        of_items = "items; it takes no lengths: give it whole clips" if dataset.lengths is not None else "items"
    done = [(path, f"{parity.max_abs_error:.1g} from the model on {parity.items} {of_items}")]
    run.note_record("exports", stem.parent)
    if isinstance(setup.model, QuantAware) and format_ == "int8":
        done += _write_int8(setup, setup.model, stem, path, _details(setup, run.id, step))
        run.note_record("exports", stem.parent)
    return done


def _write_int8(
    setup: Setup, model: QuantAware, stem: Path, float_path: Path, details: dict[str, Any]
) -> list[tuple[Path, str]]:
    from trainyard.export.onnx import export_int8
    from trainyard.export.quantized import as_csv, quantization_table

    scoring, inputs = setup.task.scoring, _items(setup)
    metric = next(name for name in scoring.headline if name != "loss")
    targets = setup.dataset.labels[setup.dataset.indices(_compared_on(setup))]

    def score(outputs: Tensor) -> float:
        columns = {name: column.numpy() for name, column in setup.task.predict(outputs).items()}
        return scoring.metrics(columns, targets, scoring.untuned())[metric]

    path, table = stem.with_name(f"{stem.name}_int8.onnx"), stem.with_name(f"{stem.name}_quantisation.csv")
    parity = export_int8(model, inputs[: 4 * _COMPARED], path, classes=setup.dataset.classes, details=details)
    done = [(path, f"the model's answer on {parity.agreement:.1%} of {parity.items} items")]
    rows = quantization_table(float_path, path, inputs, score)
    durable.write_text(table, as_csv(rows, metric))
    for row in rows:
        measured = f"{row.size_bytes / 1e6:.2f} MB, {metric} {row.score:.4f}, {row.median_ms:.2f} ms"
        done.append((table, f"{row.precision}: {measured}"))
    return done


def _folder(opened: Trained, run: RunWriter, format_: str) -> list[tuple[Path, str]]:
    """A folder from which other libraries load the trained network."""
    kind = kinds.torch_side("model", opened.config.model.name)
    if not hasattr(kind, "export_folder"):
        what = f"--format {format_} is for speech encoders, and run {run.name} did not train one."
        raise UserError(what, "Use --format onnx.", value=format_, place=run.name)
    stem = _stem(run, opened.step)
    folder = stem.with_name(f"{stem.name}_{format_}")
    if folder.exists():
        raise UserError(f"{folder} exists.", "Use it, or remove it and export again.", value=format_, place=folder)
    # With run.checkpoint_path, the weights of another run replaced those of the published base.
    has_base = not opened.config.run.checkpoint_path
    what = kind.export_folder(opened.model, format_, folder, opened.loaded.model_config, has_base=has_base)
    run.note_record("exports", stem.parent)
    return [(folder, what)]


def _stem(run: RunWriter, step: int) -> Path:
    """The common prefix of the paths of a checkpoint's exports."""
    if not run.keeps("exports"):
        name = run.layout.name
        raise UserError(f"Layout {name} has no place for exports.", "Add the kind `exports` to it.", value=name)
    return run.path("exports") / f"{run.snapshot.model}_step-{step}"


def _kind(setup: Setup) -> Any:
    """The package of the trained network."""
    return kinds.torch_side("model", setup.config.model.name)


def _compared_on(setup: Setup) -> str:
    """The split on which an exported file is compared with the model."""
    wanted = ("test", "val", "train") if setup.config.run.test else ("val", "train")
    return next(name for name in wanted if len(setup.dataset.indices(name)))


def _items(setup: Setup) -> Tensor:
    """Every item to compare on as the network's input, in the split's order."""
    return torch.cat([batch.inputs.cpu() for batch in setup.batches(_compared_on(setup)).epoch(0)])


def _details(setup: Setup, run: str, step: int) -> dict[str, Any]:
    """What the description of an exported file says of the run."""
    details: dict[str, Any] = {"run": run, "step": step, "compared_on": _compared_on(setup)}
    details["preprocessing"] = dict(setup.dataset.preprocessing)
    if setup.dataset.lengths is not None and not hasattr(_kind(setup), "write_onnx"):
        # The run leaves the padding of short clips out of the mean.
        details["padding"] = "counted as sound: the graph takes no lengths"
    return details
