"""TensorBoard event files that any reader's `Scalars` understands (plain simple_value scalars)."""

from __future__ import annotations

from pathlib import Path

from tensorboardX import SummaryWriter

from trainyard.training.events import Event


class TensorBoardSink:
    """Writes scalars to `directory`; tags are `{split}/{metric}`.

    On a resume, the events of earlier attempts after the step `purge_after` are void.
    """

    def __init__(self, directory: Path, *, purge_after: int | None = None) -> None:
        # tensorboardX names its file by the second and truncates an existing one: a quick resume needs another name.
        earlier = len(list(directory.glob("events.out.tfevents.*"))) if directory.is_dir() else 0
        self._writer = SummaryWriter(
            str(directory),
            purge_step=None if purge_after is None else purge_after + 1,
            flush_secs=5,
            filename_suffix=f".{earlier}" if earlier else "",
        )

    def emit(self, event: Event) -> None:
        """Queues the scalars; a thread of the writer writes them to disk."""
        for metric, value in event.metrics.items():
            self._writer.add_scalar(metric.as_tag, value, event.step)

    def close(self) -> None:
        """Writes what is queued."""
        self._writer.close()
