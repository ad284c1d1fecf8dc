"""The items of a split as batches, in an order that depends on a seed and an epoch alone.

A run can therefore continue inside an epoch without reading the earlier batches, two processes together see the
batches of one, and the number of workers affects only the speed. No random number generator outside this module is
used. Knows nothing of the training step.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from trainyard.data.arrays import InMemory, to_unit
from trainyard.data.dataset import Dataset, Fetch, Fetches8Bit, Indices, Remembers, View
from trainyard.data.order import shuffled
from trainyard.errors import TrainyardError

# Items in memory up to this size are moved to an accelerator once, as a whole.
RESIDENT_LIMIT_BYTES = 2**31

# Ragged items are sorted by length within pools of this many steps, or of half an epoch if that is less: enough that
# a batch has hardly any padding, and few enough that batches stay random.
POOL_STEPS = 50


@dataclass(slots=True)
class Batch:
    """The part of one step that one process gets.

    Attributes:
        inputs: float32 [B, *item_shape]; B may be 0, see `Batches`. For ragged items int64 [B, T], padded to the
            longest of this batch. For a user's own data, of its own type.
        labels: int64 [B]; float32 [B, C], 0 or 1, if an item may have several; int64 or float32 [B, ...] for targets
            that are not classes.
        indices: int64 [B], positions in the dataset, always on the CPU.
        global_size: items of this step in all processes together, the divisor of a mean over the step.
        lengths: int64 [B], samples or tokens of each item before its padding; None for items without padding.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    indices: npt.NDArray[np.int64]
    global_size: int
    lengths: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.indices)


class Batches:
    """The batches of some items of a dataset, for any epoch.

    Each step takes the next `batch_size * world` items of the epoch's order, and process `rank` gets its contiguous
    part of them: two processes with batches of 32 see, step by step, the same items as one process with batches of
    64. No item is omitted. The last step may be short; its items are distributed evenly (sizes differ by at most one).
    If there are fewer items than processes, the last ones get an empty batch, so that all take the same number of
    steps.

    Ragged items are grouped by length, because the longest item determines the cost of a batch. Training divides the
    shuffled items into pools, sorts each by length, and shuffles the steps; without shuffling the items are sorted by
    length, whatever the order of `indices`. The guarantees above still hold, because the order consists of whole
    steps of all processes; but another `batch_size * world` gives different steps.

    Args:
        dataset: has the items.
        indices: the positions of the items to use, such as `dataset.indices("train")`.
        batch_size: items per step and process.
        shuffle: a new order each epoch; otherwise the order of `indices`, or of the lengths of ragged items.
        seed: of the orders.
        rank: of this process, from 0.
        world: number of processes that share the items.
        workers: processes that decode files; 0 decodes in this process. They are started only for an epoch that needs
            items which are not in memory, and never for data that is always in memory.
        device: where inputs and labels are moved.
        augment: apply the dataset's augmentation, if it has one.
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: npt.NDArray[np.int64],
        batch_size: int,
        *,
        shuffle: bool,
        seed: int,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        device: str | torch.device = "cpu",
        augment: bool = False,
    ) -> None:
        if batch_size < 1 or not 0 <= rank < world or workers < 0:
            raise ValueError(f"batch_size={batch_size}, rank={rank}, world={world}, workers={workers}")
        self._view = View(dataset.fetch, dataset.finish)
        self._augment = dataset.augment if augment else None
        self._lengths = None if dataset.lengths is None else torch.from_numpy(dataset.lengths)
        self._item_shape = None if dataset.ragged else dataset.item_shape
        self._indices = np.array(indices, dtype=np.int64, order="C")
        self._sizes = dataset.lengths[self._indices] if dataset.ragged and dataset.lengths is not None else None
        if self._sizes is not None and not shuffle:
            self._indices = self._indices[np.argsort(self._sizes, kind="stable")]
        self._step = batch_size * world
        self._shuffle = shuffle
        self._seed = seed
        self._workers = workers
        self._device = torch.device(device)
        self._targets = dataset.labels
        # The types that losses expect: positions of classes are integers, everything else is float.
        kind = np.int64 if np.issubdtype(self._targets.dtype, np.integer) else np.float32
        self._labels = torch.from_numpy(np.asarray(self._targets, dtype=kind))
        self._bounds = _bounds(len(self._indices), batch_size, rank, world)
        self._items = self._resident()

    def __len__(self) -> int:
        """Steps in an epoch, the same for every process."""
        return len(self._bounds)

    def targets(self, indices: Indices) -> npt.NDArray[Any]:
        """The targets of those items, as in the dataset."""
        return self._targets[indices]

    def order(self, number: int) -> Indices:
        """The positions in the dataset in the order of epoch `number`, for all processes together."""
        if not self._shuffle:
            return self._indices
        order = shuffled(len(self._indices), self._seed, number)
        if self._sizes is not None:
            order = _by_length(order, self._sizes, self._step, self._seed, number)
        return self._indices[order]

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number` from batch `start` on; earlier ones are not read.

        Raises:
            ValueError: when the epoch has no batch `start`. Its end, `len(self)`, is allowed.
        """
        if not 0 <= start <= len(self):
            raise ValueError(f"epoch {number} has {len(self)} batches: cannot start at batch {start}")
        order = self.order(number)
        if self._items is not None:
            return self._from_memory(self._items, order, start)
        view = self._view if self._augment is None else self._augment(self._seed, number)
        return self._from_files(view, order, start)

    def _resident(self) -> torch.Tensor | None:
        if not isinstance(self._view.fetch, InMemory):
            return None
        items = self._view.fetch.items
        if self._device.type == "cpu" or items.numel() * items.element_size() > RESIDENT_LIMIT_BYTES:
            return items
        return items.to(self._device)

    def _from_memory(self, items: torch.Tensor, order: Indices, start: int) -> Iterator[Batch]:
        positions = torch.from_numpy(order).to(items.device)
        # Small enough to reorder at once; each batch is a view.
        labels = self._labels[torch.from_numpy(order)].to(self._device)
        scale = items.dtype == torch.uint8
        elsewhere = items.device != self._device and self._device.type != items.device.type
        for low, high, global_size in self._bounds[start:]:
            inputs = items.index_select(0, positions[low:high])
            if scale:
                inputs = to_unit(inputs)
            if elsewhere:
                inputs = self._send(inputs)
            yield Batch(inputs, labels[low:high], order[low:high], global_size)

    def _from_files(self, view: View, order: Indices, start: int) -> Iterator[Batch]:
        bounds = self._bounds[start:]
        scale = isinstance(view.fetch, Fetches8Bit)
        shards = [order[low:high] for low, high, _ in bounds]
        positions = torch.from_numpy(order)
        labels = self._labels[positions].to(self._device)
        lengths = None if self._lengths is None else self._lengths[positions].to(self._device)
        for (low, high, global_size), shard, raw in zip(bounds, shards, self._read(view.fetch, shards), strict=True):
            inputs = self._send(to_unit(raw) if scale else raw)
            if view.finish is not None:
                inputs = view.finish(inputs, shard)
            if self._item_shape is not None:
                inputs = inputs.reshape(len(shard), *self._item_shape)
            known = None if lengths is None else lengths[low:high]
            yield Batch(inputs, labels[low:high], shard, global_size, known)

    def _read(self, fetch: Fetch, shards: Sequence[Indices]) -> Iterator[torch.Tensor]:
        in_memory = _has(fetch, shards)
        source: object = fetch
        if isinstance(source, Fetches8Bit):
            # Items are sent between processes as 8 bits, a quarter of the bytes, and converted to float here.
            fetch = source.raw
        if self._workers == 0 or in_memory or not shards:
            yield from map(fetch, shards)
            return
        loader: DataLoader[torch.Tensor | TrainyardError] = DataLoader(
            _Shards(fetch, shards),
            batch_size=None,
            num_workers=min(self._workers, len(shards)),
            collate_fn=_unchanged,
            worker_init_fn=_start_worker,
            # Otherwise the loader would draw its seed from the generator of the training.
            generator=torch.Generator(),
        )
        for found in loader:
            if isinstance(found, TrainyardError):
                raise found
            yield found

    def _send(self, tensor: torch.Tensor) -> torch.Tensor:
        if self._device.type == "cpu":
            return tensor
        if self._device.type == "cuda":
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)


def _has(fetch: object, shards: Sequence[Indices]) -> bool:
    """Whether all those items are in memory."""
    return isinstance(fetch, Remembers) and all(map(fetch.cached, shards))


def _by_length(order: Indices, sizes: Indices, step: int, seed: int, number: int) -> Indices:
    """A shuffled order as steps of items of similar length; a short last step stays last."""
    whole = len(order) // step
    pool = max(1, min(POOL_STEPS, -(-whole // 2))) * step
    parts = [order[start : min(start + pool, whole * step)] for start in range(0, whole * step, pool)]
    ordered = [part[np.argsort(sizes[part], kind="stable")] for part in (*parts, order[whole * step :])]
    steps = np.concatenate(ordered[:-1] or [order[:0]]).reshape(whole, step)
    return np.concatenate([steps[shuffled(whole, seed, number, 1)].ravel(), ordered[-1]])


def _bounds(count: int, batch_size: int, rank: int, world: int) -> list[tuple[int, int, int]]:
    """For each step: where this process's items begin and end in the order, and the items of the step."""
    step = batch_size * world
    bounds = []
    for begin in range(0, count, step):
        size = min(step, count - begin)
        each, over = divmod(size, world)
        low = begin + rank * each + min(rank, over)
        bounds.append((low, low + each + (rank < over), size))
    return bounds


class _Shards(TorchDataset[torch.Tensor]):
    """One whole batch per position, so that a worker fetches a batch in one call."""

    def __init__(self, fetch: Fetch, shards: Sequence[Indices]) -> None:
        self._fetch = fetch
        self._shards = shards

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, position: int) -> torch.Tensor | TrainyardError:  # type: ignore[override]
        try:
            return self._fetch(self._shards[position])
        except TrainyardError as error:
            # Raised in a worker, its message would be hidden in the loader's traceback.
            return error


def _unchanged(found: Any) -> Any:
    return found


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole process group. The training stops after the current step, which still needs the
    # workers; they end with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
