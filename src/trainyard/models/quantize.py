"""Quantisation-aware training: weights and activations are rounded to 8 bits during training.

torchao captures the network as a graph of torch operations, folds batch norms into convolutions, and inserts a
rounding (a "fake quantisation") wherever int8 will be used. torchao's errors in such a graph (the constants of batch
norm and dropout, the switch between training and evaluation) are corrected here; they would go unnoticed, because
they only make the results worse. Knows no ONNX and no files.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from trainyard.errors import ConfigError, UserError
from trainyard.models.blocks import StochasticDepth
from trainyard.models.exporter_noise import without_exporter_noise

_BATCH_NORM = torch.ops.aten.batch_norm.default
_CONV = torch.ops.aten.conv2d.default
_DROPOUTS = (torch.ops.aten.dropout.default, torch.ops.aten.dropout_.default)
# Places in the arguments of aten.batch_norm(input, weight, bias, mean, var, training, momentum, eps, cudnn)
_MEAN, _VAR, _TRAINING, _MOMENTUM, _EPS = 3, 4, 5, 6, 7


class QuantAware(nn.Module):
    """A network prepared for int8: made by `quantization_aware`, trained like any other, then `converted`.

    In training, the range of every activation is a moving average of its values; weights use their exact range.
    Evaluation changes no range and no statistic, and does not round before the first training step, when there are
    no ranges yet. Always computes in float32, also under autocast.

    The state dict of one network prepared twice has the same names and shapes: to resume, prepare
    again and load. Copies made by `copy.deepcopy` are independent.
    """

    def __init__(self, graph: GraphModule, item_shape: Sequence[int], frozen_norms: frozenset[str]) -> None:
        super().__init__()
        self.graph = graph
        self.item_shape = tuple(item_shape)
        self._frozen_norms = frozen_norms
        self.register_load_state_dict_post_hook(_follow_mode)

    def forward(self, images: Tensor) -> Tensor:
        """Logits: float32 [B, classes] of float32 [B, *item_shape], for any B from 1.

        Raises:
            ConfigError: items of another shape; the graph is built for one.
        """
        if tuple(images.shape[1:]) != self.item_shape:
            what = f"a network prepared for int8 takes items of {self.item_shape}, but got {tuple(images.shape[1:])}"
            raise ConfigError([what], "Prepare it for the shape of the data, or resize the data.", keys=["data"])
        with torch.autocast(images.device.type, enabled=False):
            images = images.float()
            if self.training and images.shape[0] == 1:  # as SpectrogramNetwork.forward
                twice: Tensor = self.graph(torch.cat([images, images]))
                return twice[:1]
            logits: Tensor = self.graph(images)
            return logits

    def train(self, mode: bool = True) -> QuantAware:
        """As `nn.Module.train`, and sets the mode in the graph, as an argument of batch norms and dropouts."""
        self.training = mode
        rounds = mode or self.is_calibrated
        for observed in _fake_quants(self.graph):
            observed.enable_observer(mode or observed.is_per_channel)  # a weight's range is exact, not learned
            observed.enable_fake_quant(rounds)
        changed = False
        for node in self.graph.graph.nodes:
            if node.target in _DROPOUTS:
                changed |= _set(node, 2, mode)
            elif node.target is _BATCH_NORM:
                changed |= _set(node, _TRAINING, mode and node.args[_MEAN].target not in self._frozen_norms)
        if changed:
            self.graph.recompile()
        return self

    @property
    def is_calibrated(self) -> bool:
        """Whether every activation has a range, which is so after the first training step."""
        ranges = [fake.activation_post_process.min_val for fake in _fake_quants(self.graph) if not fake.is_per_channel]
        return all(math.isfinite(float(lowest)) for lowest in ranges)

    def __deepcopy__(self, memo: dict[int, Any]) -> QuantAware:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        with without_exporter_noise():
            twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin


def _follow_mode(model: QuantAware, _keys: object) -> None:
    model.train(model.training)  # the loaded state has the rounding mode of the saved network


def quantization_aware(model: nn.Module, item_shape: Sequence[int]) -> QuantAware:
    """`model` prepared for quantisation-aware training, in training mode; `model` itself is unchanged.

    Load weights and replace the head first: the graph cannot be changed afterwards. Stochastic depth is omitted,
    because a graph cannot switch it off for evaluation. Frozen parameters stay frozen.

    Args:
        model: a network on [B, C, H, W]; `forward(images)` alone is captured.
        item_shape: of one item, (C, H, W). Other shapes need another preparation.

    Raises:
        ConfigError: torchao is not installed.
    """
    prepare, quantizer = _torchao()
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, StochasticDepth):
            module.probability = 0.0
    model.train()
    device = next(model.parameters()).device
    norms = {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    with without_exporter_noise(), torch.random.fork_rng(devices=[]):
        example = torch.zeros(2, *item_shape, device=device)
        exported = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        graph = _usable(prepare(exported.module(), quantizer))
    _correct(graph, norms)
    frozen = frozenset(f"{name}.running_mean" for name, norm in norms.items() if not norm.training)
    prepared = QuantAware(graph, item_shape, frozen)
    _shape_ranges(prepared, device)
    prepared.train()
    return prepared


def converted(model: QuantAware) -> nn.Module:
    """The int8 network: weights as int8, activations quantised and dequantised around each operation.

    It computes on the CPU, in evaluation mode only; `model` is unchanged. Its state dict is useless
    (it still holds float weights): export it.

    Raises:
        UserError: `model` was never trained, so its activations have no ranges.
    """
    if not model.is_calibrated:
        what = "The network has no int8 ranges yet; training learns them."
        raise UserError(what, "Train it for at least one epoch, with model.qat=true.", place="model.qat")
    model = copy.deepcopy(model).cpu().eval()
    with torch.no_grad():
        model(torch.zeros(1, *model.item_shape))  # updates the ranges of the weights after the last step
        _fold_batch_norms(model.graph)
    with without_exporter_noise():
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

        graph: GraphModule = convert_pt2e(model.graph)
    return _usable(graph).eval()


def unquantised(model: QuantAware) -> nn.Module:
    """The float network with the weights of `model`, for comparison with int8.

    It computes on the CPU, in evaluation mode only; `model` is unchanged.
    """
    model = copy.deepcopy(model).cpu().eval()
    with torch.no_grad():
        _fold_batch_norms(model.graph)
    graph = model.graph
    for node in list(graph.graph.nodes):
        if node.op == "call_module" and hasattr(graph.get_submodule(str(node.target)), "fake_quant_enabled"):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph.eval()


def _torchao() -> tuple[Any, Any]:
    """torchao's `prepare_qat_pt2e`, and its quantizer for x86 processors.

    The quantizer's default roundings are fused ones, whose scales (and, for channels with weights of one sign,
    zero points) differ from those that the conversion computes, so the int8 network would differ from the trained
    one. The plain ones use the conversion's own function.
    """
    try:
        with without_exporter_noise():
            from torchao.quantization.pt2e import fake_quantize, observer
            from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
            from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86
    except ModuleNotFoundError as error:
        why = f"needs torchao, and {error.name} is not installed"
        remedy = "Install it with `pip install 'trainyard[export]'`, or set model.qat=false."
        raise ConfigError.of("model.qat", "true", why, remedy) from error

    class WeightRange(observer.PerChannelMinMaxObserver):
        """The current range of each output channel's weights; torchao's observers average over past steps."""

        def forward(self, weight: Tensor) -> Tensor:
            lowest, highest = torch.aminmax(weight.detach().flatten(1), dim=1)
            self.min_val.resize_(lowest.shape).copy_(lowest)
            self.max_val.resize_(highest.shape).copy_(highest)
            return weight

    config = x86.get_default_x86_inductor_quantization_config(is_qat=True)
    rounding = fake_quantize.FakeQuantize.with_args
    averaged = rounding(observer=observer.MovingAverageMinMaxObserver)
    activation = replace(config.input_activation, observer_or_fake_quant_ctr=averaged)
    weight = replace(config.weight, observer_or_fake_quant_ctr=rounding(observer=WeightRange))
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(replace(config, input_activation=activation, output_activation=activation, weight=weight))
    return prepare_qat_pt2e, quantizer


def _usable(graph: GraphModule) -> GraphModule:
    """`graph` without torchao's `train` and `eval`, which only raise."""
    for name in ("train", "eval"):
        graph.__dict__.pop(name, None)
    return graph


def _fake_quants(graph: nn.Module) -> Iterator[Any]:
    return (module for module in graph.modules() if hasattr(module, "fake_quant_enabled"))


def _set(node: Node, place: int, value: bool | float | None) -> bool:
    """Sets argument `place` of a node to `value`; returns whether that changed it."""
    if node.args[place] == value:
        return False
    node.update_arg(place, value)
    return True


def _tensor(graph: GraphModule, node: Node) -> Tensor:
    assert node.op == "get_attr", node
    tensor: Tensor = attrgetter(str(node.target))(graph)
    return tensor


def _correct(graph: GraphModule, norms: dict[str, nn.BatchNorm2d]) -> None:
    """Restores the constants that torchao's rewriting loses, and removes nodes that change state in evaluation.

    Its fused convolution and batch norm always has eps 1e-5 and momentum 0.1; the counters of batches are not needed
    with a fixed momentum; `forward` checks the input's shape itself.
    """
    for node in list(graph.graph.nodes):
        if node.target is _BATCH_NORM:
            norm = norms[str(node.args[_MEAN].target).removesuffix(".running_mean")]
            node.update_arg(_MOMENTUM, norm.momentum)
            node.update_arg(_EPS, norm.eps)
            for user in list(node.args[_VAR].users):
                if user.target is torch.ops.aten.add.Tensor:  # var + eps, for the scale of the fused weight
                    user.update_arg(1, norm.eps)
        elif node.target == "_guards_fn" or (
            node.target is torch.ops.aten.add_.Tensor and str(node.args[0].target).endswith(".num_batches_tracked")
        ):
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.recompile()


def _shape_ranges(prepared: QuantAware, device: torch.device) -> None:
    """Gives every range its final shape, so that a state dict fits from the start, and resets its values."""
    prepared.eval()
    for fake in _fake_quants(prepared.graph):
        fake.enable_observer()
    with torch.no_grad():
        prepared(torch.zeros(1, *prepared.item_shape, device=device))
    for fake in _fake_quants(prepared.graph):
        if not fake.is_per_channel:
            fake.activation_post_process.min_val.fill_(math.inf)
            fake.activation_post_process.max_val.fill_(-math.inf)


def _fold_batch_norms(graph: GraphModule) -> None:
    """Replaces the batch norms of a graph in evaluation mode by equivalent constants.

    After a convolution, the graph has `bn(conv(x, round(weight * s)) / s)` with s = gamma / sqrt(var + eps)
    per output channel; that is `conv(x, round(weight * s)) + beta - mean * s`. Elsewhere it has `bn(x)`,
    which is `x * s + beta - mean * s`. torchao's own folding matches a hundred patterns that it rebuilds each
    time, which takes a minute, and assumes eps 1e-5.
    """
    for number, node in enumerate(list(graph.graph.nodes)):
        if node.target is not _BATCH_NORM:
            continue
        source, gamma, beta, mean, var = node.args[:5]
        scale = _tensor(graph, gamma) / torch.sqrt(_tensor(graph, var) + node.args[_EPS])
        shift = _tensor(graph, beta) - _tensor(graph, mean) * scale
        conv = source.args[0]
        if source.target is torch.ops.aten.div.Tensor and conv.target is _CONV and len(conv.args) > 1:
            assert len(conv.args) == 2 or conv.args[2] is None, "a convolution before a batch norm has no bias"
            rounded = conv.args[1]
            weight = _tensor(graph, rounded.args[0].args[0]) * scale.reshape(-1, 1, 1, 1)
            with graph.graph.inserting_before(rounded):
                rounded.args = (_new_parameter(graph, f"folded_weight_{number}", weight),)
                bias = _new_parameter(graph, f"folded_bias_{number}", shift)
            conv.args = (*conv.args[:2], bias, *conv.args[3:])
            result = conv
        else:
            with graph.graph.inserting_before(node):
                factors = _new_parameter(graph, f"norm_scale_{number}", scale.reshape(-1, 1, 1))
                summands = _new_parameter(graph, f"norm_shift_{number}", shift.reshape(-1, 1, 1))
                scaled = graph.graph.call_function(torch.ops.aten.mul.Tensor, (source, factors))
                result = graph.graph.call_function(torch.ops.aten.add.Tensor, (scaled, summands))
        node.replace_all_uses_with(result)
        graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _new_parameter(graph: GraphModule, name: str, value: Tensor) -> Node:
    graph.register_parameter(name, nn.Parameter(value, requires_grad=False))
    return graph.graph.get_attr(name)
