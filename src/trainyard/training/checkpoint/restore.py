"""A training restored from a checkpoint that `read` loaded: weights, optimizer, scheduler, random states, progress."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainyard.errors import CheckpointError
from trainyard.training.checkpoint.capture import Trainee, saved_name
from trainyard.training.checkpoint.read import Loaded
from trainyard.training.progress import Progress
from trainyard.wording import listed


def restore_rng(state: Mapping[str, Any], device: torch.device) -> None:
    """Restores every random generator to `state`."""
    python, numpy_ = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["state"].tolist()), python["gauss"]))
    np.random.set_state(
        ("MT19937", numpy_["key"].numpy().astype(np.uint32), numpy_["pos"], numpy_["has_gauss"], numpy_["gauss"])
    )
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Loads `weights`, under their names in files, into `model`; tensors tied to a loaded one may be absent.

    If names or shapes do not match, a CheckpointError names the checkpoint (`where`), and its `value` the mismatches.
    """
    live = {saved_name(model, name): name for name in model.state_dict()}
    own = dict(zip(live, model.state_dict().values(), strict=True))
    loaded = {own[name].data_ptr() for name in weights if name in own}
    missing = [name for name in own if name not in weights and own[name].data_ptr() not in loaded]
    unexpected = [name for name in weights if name not in own]
    shapes = [
        f"{name}: {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if missing or unexpected or shapes:
        kinds = (("missing", missing), ("unexpected", unexpected), ("of the wrong shape", shapes))
        parts = [f"{len(found)} {label} ({listed(found, 3)})" for label, found in kinds if found]
        raise CheckpointError(
            f"The weights in {where} do not match the model: {'; '.join(parts)}.",
            "Use the model.* settings they were trained with.",
            value=[*missing, *unexpected, *shapes],
            place=where,
        )
    model.load_state_dict({live[name]: tensor for name, tensor in weights.items()}, strict=False)


def restore(trainee: Trainee, loaded: Loaded, where: str, *, rank: int = 0) -> Progress:
    """Restores a trainee from a checkpoint; returns the progress at that checkpoint.

    Raises:
        CheckpointError: the checkpoint does not match the trainee, or lacks what resuming needs.
    """
    if loaded.optimizer is None or loaded.progress is None or loaded.rng is None:
        what = f"{where} holds no optimizer state."
        raise CheckpointError(what, "Resume from another checkpoint with --step.", place=where)
    load_weights(trainee.model, loaded.model, where)
    trainee.optimizer.load_state_dict(loaded.optimizer)
    if trainee.scheduler is not None and loaded.scheduler is not None:
        trainee.scheduler.load_state_dict(loaded.scheduler)
    if loaded.scaler is not None:
        trainee.scaler.load_state_dict(loaded.scaler)
    restore_rng(loaded.rng[min(rank, len(loaded.rng) - 1)], trainee.device)
    return loaded.progress
