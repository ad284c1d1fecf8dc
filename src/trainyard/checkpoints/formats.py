"""The shapes a checkpoint has on disk. Pure names; `training.encoding` turns tensors into the files.

`hf` and `hf-bin` are directories that transformers reads; `pth` is one file that
`torch.load(weights_only=True)` reads.
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
    """How a checkpoint lies on disk.

    `weights` is the file of the model; `resume_files` serve only for resuming, so a superseded
    checkpoint can do without them and a published one has none.
    """

    name: str
    is_directory: bool
    weights: str
    resume_files: frozenset[str] = frozenset()

    def is_published(self, file: str) -> bool:
        """Whether a published checkpoint ("best", "final") has this file, too."""
        return file not in self.resume_files and file != MANIFEST

    def can_resume(self, paths: Mapping[str, str]) -> bool:
        """Whether a checkpoint at these places has one with all that resuming needs."""
        return "checkpoint" in paths or not self.is_directory


_RESUME = frozenset({OPTIMIZER, SCHEDULER, SCALER, RNG_STATE, TRAINER_STATE, TRAINING_ARGS})

FORMATS = {
    "hf": Format("hf", True, SAFETENSORS, _RESUME),
    "hf-bin": Format("hf-bin", True, PYTORCH_BIN, _RESUME),
    "pth": Format("pth", False, ""),
}
