"""ONNX files: a network for programs without torch, in float32, or in int8 after quantisation-aware training.

A file is published only if ONNX Runtime gives the network's own outputs on real inputs. A JSON beside it has the
comparison, the classes and the versions. Prints nothing. Knows no runs, and no data except its inputs.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainyard import durable
from trainyard.errors import ConfigError, TrainyardError
from trainyard.models.exporter_noise import without_exporter_noise
from trainyard.models.quantize import QuantAware, converted, unquantised

_OPSET = 18  # the newest that torch writes without converting
_AT_ONCE = 64  # items
_LEAST_AGREEMENT = 0.95  # share of the items on which int8 must give the class that the network gives
_REPORT = "Report this with the model's settings; the checkpoints are not affected."
_LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "torchao")


@dataclass(frozen=True)
class Parity:
    """The comparison of a published file with the network."""

    path: Path
    items: int  # how many were compared
    max_abs_error: float  # largest difference of a logit
    agreement: float  # share of items with the same largest logit
    size_bytes: int
    sha256: str


def export_onnx(
    model: nn.Module,
    inputs: Tensor,
    path: Path,
    *,
    classes: Sequence[str],
    tolerance: float = 1e-4,
    details: Mapping[str, Any] | None = None,
) -> Parity:
    """Writes `model` as a float32 ONNX file for any batch size, and its description to `path` with `.json`.

    Args:
        model: takes `inputs` [B, ...] to logits [B, classes]; unchanged. For a `QuantAware` network, the
            float network with its weights is written.
        inputs: float32 [N, ...], or integers, real items to compare on.
        path: where; an existing file is replaced in one step.
        classes: names in the order of the logits; empty for outputs that are not of classes.
        tolerance: largest difference of a logit, as a share of the largest logit (or of 1, if that is more).
        details: anything else for the description, as plain JSON values.

    Raises:
        ConfigError: a library is missing.
        TrainyardError: the network cannot be exported, or the file's outputs differ by more: nothing is written.
    """
    whole = unquantised(model) if isinstance(model, QuantAware) else copy.deepcopy(model).cpu().eval()
    proto, content = _exported(whole, inputs)
    ours, theirs = _outputs(whole, inputs).numpy(), run(session(content), inputs)
    parity = parity_of(path, content, ours, theirs)
    require_parity(parity, ours, tolerance)
    publish(parity, proto, content, "float32", classes, _described(proto, inputs), details)
    return parity


def export_int8(
    model: QuantAware, inputs: Tensor, path: Path, *, classes: Sequence[str], details: Mapping[str, Any] | None = None
) -> Parity:
    """Writes `model` as an int8 ONNX file (QuantizeLinear and DequantizeLinear), with the arguments of `export_onnx`.

    Logits have no tolerance: rounding turns tiny differences between two programs into whole steps of int8. The
    predicted classes must agree.

    Raises:
        ConfigError: a library is missing.
        UserError: the network was never trained.
        TrainyardError: the network cannot be exported, or fewer items agree: nothing is written.
    """
    twin = copy.deepcopy(model).cpu().eval()
    proto, content = _exported(converted(model), inputs)
    parity = parity_of(path, content, _outputs(twin, inputs).numpy(), run(session(content), inputs))
    if not parity.agreement >= _LEAST_AGREEMENT:
        raise TrainyardError(
            f"The int8 ONNX file of {path.name} agrees with the network on {parity.agreement:.1%} of "
            f"{parity.items} items; {_LEAST_AGREEMENT:.1%} is required. It was not written.",
            "Train longer, so that the int8 ranges settle. Processors without VNNI or dot-product "
            "instructions also compute int8 inexactly: try another machine.",
            value=parity.agreement,
            place=path,
        )
    publish(parity, proto, content, "int8", classes, _described(proto, inputs), details)
    return parity


def session(content: bytes | Path) -> Any:
    """An `onnxruntime.InferenceSession` of a file, or of its bytes, on one thread; a ConfigError if it is missing."""
    with _installed():
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    source = content if isinstance(content, bytes) else str(content)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run(running: Any, inputs: Tensor) -> npt.NDArray[np.float32]:
    """Logits float32 [N, classes] of inputs [N, ...] by a `session`, in batches."""
    name = running.get_inputs()[0].name
    batches = [running.run(None, {name: batch.numpy()})[0] for batch in _as_given(inputs).split(_AT_ONCE)]
    return np.concatenate(batches)


def exported(
    model: nn.Module,
    example: tuple[Tensor, ...],
    dynamic_shapes: tuple[Mapping[int, Any], ...],
    input_names: Sequence[str],
    output_names: Sequence[str],
) -> tuple[Any, bytes]:
    """The ONNX graph of a network on the CPU in evaluation mode, and its bytes, without source paths.

    `dynamic_shapes` has the names of the dynamic axes of each input. Their sizes in `example` must be above 1,
    otherwise torch treats them as fixed.

    Raises:
        ConfigError: a library is missing.
        TrainyardError: the network cannot be exported.
    """
    with _installed():
        import onnx
        import onnxruntime  # noqa: F401  (fails before the minutes that an export may take)
        import onnxscript  # noqa: F401
    try:
        with without_exporter_noise(), torch.random.fork_rng(devices=[]):
            program = torch.onnx.export(
                model,
                example,
                dynamo=True,
                dynamic_shapes=dynamic_shapes,
                input_names=list(input_names),
                output_names=list(output_names),
                opset_version=_OPSET,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        what = f"The network cannot be written as ONNX: {(str(error).splitlines() or ['?'])[0]}"
        raise TrainyardError(what, _REPORT, value=type(model).__name__) from error
    assert program is not None
    proto = program.model_proto
    _strip(proto)
    onnx.checker.check_model(proto, full_check=True)
    return proto, proto.SerializeToString()


def parity_of(path: Path, content: bytes, ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> Parity:
    """The comparison of the network's logits [N, C], `ours`, with those of a file."""
    return Parity(
        path=path,
        items=len(ours),
        max_abs_error=float(np.abs(ours - theirs).max()),
        # the position of each item's largest output; 0 if it has only one
        agreement=float(np.equal(*(each.reshape(len(each), -1).argmax(1) for each in (ours, theirs))).mean()),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def require_parity(parity: Parity, ours: npt.NDArray[np.float32], tolerance: float) -> None:
    """Raises TrainyardError if a logit differs by more than this share of the largest (or of 1)."""
    allowed = tolerance * max(1.0, float(np.abs(ours).max()))
    if not parity.max_abs_error <= allowed:
        raise TrainyardError(
            f"The ONNX file of {parity.path.name} differs from the network: a logit by {parity.max_abs_error:.2g} "
            f"on {parity.items} items; {allowed:.2g} is allowed. It was not written.",
            _REPORT,
            value=parity.max_abs_error,
            place=parity.path,
        )


@contextlib.contextmanager
def _installed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        what = f"an export to ONNX needs {error.name}, which is not installed"
        raise ConfigError([what], "Install it with `pip install 'trainyard[export]'`.") from error


def _exported(model: nn.Module, inputs: Tensor) -> tuple[Any, bytes]:
    """The graph of a network with one input, for any number of items."""
    example = _as_given(inputs[:1]).expand(2, *inputs.shape[1:]).clone()
    return exported(model, (example,), ({0: "batch"},), ["input"], ["logits"])


def _strip(proto: Any) -> None:
    """Removes torch's notes on each node, which hold source paths of this machine and are a third of the size."""
    graph = proto.graph
    functions = [node for function in proto.functions for node in function.node]
    parts = (graph, *proto.functions, *graph.node, *functions, *graph.input, *graph.output, *graph.value_info)
    for part in (proto, *parts, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def _outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(batch) for batch in _as_given(inputs).split(_AT_ONCE)])


def _as_given(inputs: Tensor) -> Tensor:
    """Inputs of the graph: floats as float32, integers unchanged."""
    return (inputs.float() if inputs.is_floating_point() else inputs).cpu()


def _described(proto: Any, inputs: Tensor) -> dict[str, Any]:
    """The graph's input and output, for the description."""
    dtype = str(_as_given(inputs[:0]).dtype).removeprefix("torch.")
    sizes = [size.dim_value for size in proto.graph.output[0].type.tensor_type.shape.dim[1:]]
    return {
        "input": {"name": proto.graph.input[0].name, "dtype": dtype, "shape": ["batch", *inputs.shape[1:]]},
        "output": {"name": proto.graph.output[0].name, "dtype": "float32", "shape": ["batch", *sizes]},
        "item_shape": list(inputs.shape[1:]),
    }


def publish(
    parity: Parity,
    proto: Any,
    content: bytes,
    precision: str,
    classes: Sequence[str],
    described: Mapping[str, Any],
    details: Mapping[str, Any] | None,
) -> None:
    """Writes the file, `content`, then its description with its digest.

    `described` are the inputs and outputs of the graph, `proto`, without None values; `details` anything else.
    """
    durable.write_bytes(parity.path, content)
    installed: dict[str, str] = {}
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    durable.write_json(
        parity.path.with_suffix(".json"),
        {
            "format": "onnx",
            "precision": precision,
            "file": parity.path.name,
            "size_bytes": parity.size_bytes,
            "sha256": parity.sha256,
            "opset": next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")),
            "classes": list(classes),
            **{key: value for key, value in described.items() if value is not None},
            "compared": {"items": parity.items, "max_abs_error": parity.max_abs_error, "agreement": parity.agreement},
            "versions": installed,
            **(details or {}),
        },
    )
