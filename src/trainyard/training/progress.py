"""The progress of a training: everything the loop needs to continue as if it had never stopped.

Plain numbers that survive JSON exactly. Tensors and random states are in `training.checkpoint.capture`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from trainyard.training.stopping import Best


@dataclass
class Progress:
    """The position and the running sums of a training.

    `epoch` epochs are done, and `batch` batches of the next one. The sums are of each step's loss times its number
    of items, in the order of the steps, so that a resume reproduces them to the last bit.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    epoch_loss: float = 0.0
    epoch_items: int = 0
    window_loss: float = 0.0
    window_items: int = 0
    best: Best = field(default_factory=Best)
    stopped_early: bool = False
    decision: dict[str, Any] | None = None  # the rule tuned at the last validation, for tasks with decisions
    log: list[dict[str, Any]] = field(default_factory=list)  # in the shape of transformers' log_history

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `from_dict` restores it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Progress:
        """The inverse of `to_dict`."""
        return cls(**{**data, "best": Best(**data["best"])})

    def add(self, loss: float, items: int) -> None:
        """Adds the loss of one step to the sums."""
        self.epoch_loss += loss * items
        self.epoch_items += items
        self.window_loss += loss * items
        self.window_items += items
