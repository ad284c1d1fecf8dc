"""The formats of a checkpoint on disk, as file names; `training.checkpoint` turns tensors into the files.

`hf` and `hf-bin` are directories that transformers can load; `pth` is one file for
`torch.load(weights_only=True)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MANIFEST = "manifest.json"
SAFETENSORS = "model.safetensors"
SAFETENSORS_INDEX = "model.safetensors.index.json"
PYTORCH_BIN = "pytorch_model.bin"
CONFIG = "config.json"
ADAPTER = "adapter_model.safetensors"  # peft's name
METRICS = "metrics.json"
OPTIMIZER = "optimizer.pt"
SCHEDULER = "scheduler.pt"
SCALER = "scaler.pt"
RNG_STATE = "rng_state.pth"
TRAINER_STATE = "trainer_state.json"
TRAINING_ARGS = "training_args.bin"


@dataclass(frozen=True)
class Format:
    """The format of a checkpoint on disk."""

    name: str
    is_directory: bool
    weights: str  # the model's file
    resume_files: frozenset[str] = frozenset()  # may be removed from a superseded checkpoint; a published one has none

    def is_published(self, file: str) -> bool:
        """Whether a published checkpoint ("best", "final") includes this file."""
        return file not in self.resume_files and file != MANIFEST

    def can_resume(self, paths: Mapping[str, str]) -> bool:
        """Whether one of these places has everything that resuming needs."""
        return "checkpoint" in paths or not self.is_directory


_RESUME = frozenset({OPTIMIZER, SCHEDULER, SCALER, RNG_STATE, TRAINER_STATE, TRAINING_ARGS})

FORMATS = {
    "hf": Format("hf", True, SAFETENSORS, _RESUME),
    "hf-bin": Format("hf-bin", True, PYTORCH_BIN, _RESUME),
    "pth": Format("pth", False, ""),
}
