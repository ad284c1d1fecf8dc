"""Where a training stands: everything the loop needs to go on as if it had never stopped.

Plain numbers that survive JSON exactly. Tensors and random states are `state`'s.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from trainyard.training.stopping import Best


@dataclass
class Progress:
    """The position and the running sums of a training.

    `epoch` epochs are done and `batch` batches of the next one. The sums are of the loss times the
    items it is over, in the order of the steps, so that they come out the same to the last bit.
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
    decision: dict[str, Any] | None = None  # how labels are chosen since the last validation, where there is a choice
    log: list[dict[str, Any]] = field(default_factory=list)  # in the shape of transformers' log_history

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` gives the same back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Progress:
        """The inverse of `to_dict`."""
        return cls(**{**data, "best": Best(**data["best"])})

    def add(self, loss: float, items: int) -> None:
        """Takes the loss of one step in."""
        self.epoch_loss += loss * items
        self.epoch_items += items
        self.window_loss += loss * items
        self.window_items += items
