"""The items of a split as batches, in an order that depends on a seed and an epoch alone.

So a run can be continued inside an epoch without reading what came before, two processes see the
batches that one would have seen, and the number of workers changes nothing but the speed. No
random number generator outside this module is read or moved. Knows nothing of the training step.
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

# Items in memory move to an accelerator once, as a whole, up to this size.
RESIDENT_LIMIT_BYTES = 2**31

# Ragged items are sorted by length among the items of this many steps, or of half the epoch
# where that is less: enough that a batch has hardly any padding, and few enough that chance, not
# length, decides what else is in it.
POOL_STEPS = 50


@dataclass(slots=True)
class Batch:
    """What one process gets of one step.

    Attributes:
        inputs: float32 [B, *item_shape]; B may be 0, see `Batches`. Of ragged items int64 [B, T], padded to the
            longest of this batch.
        labels: int64 [B]; float32 [B, C], 0 or 1, where an item may have several.
        indices: int64 [B], positions in the dataset, always on the CPU.
        global_size: items of this step in all processes together: what a mean over the step is
            divided by, whichever way the items are spread.
        lengths: int64 [B], samples or tokens of each item before its padding; None for items that have no such thing.
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

    Each step takes the next `batch_size * world` items of the epoch's order, and process `rank` gets
    its contiguous part of them: two processes with batches of 32 see, step by step, the items that
    one process with batches of 64 sees. No item is left out. The last step may be short; its items
    are spread as evenly as can be (sizes differ by one at most), and only when there are fewer items
    than processes do the last ones get a batch of no items, so that all take the same number of steps.

    Ragged items are put together by length, because what a batch costs is its longest item. Training
    deals the shuffled items into pools, sorts each by length, and takes the steps in a shuffled order;
    without shuffling the items come sorted by length, whatever the order of `indices`. The
    guarantees above still hold, as the order is made of whole steps of all processes; but another
    `batch_size * world` gives other steps, not the same items cut elsewhere.

    Args:
        dataset: where the items are.
        indices: the positions of the items to use, such as `dataset.indices("train")`.
        batch_size: items per step and process.
        shuffle: a new order each epoch; otherwise the order of `indices`, for ragged items that of their lengths.
        seed: of the orders.
        rank: which of the processes this is, from 0.
        world: how many processes share the items.
        workers: processes that decode files; 0 decodes here. They are started only for an epoch in
            which something is not in memory yet, and ignored for data that always is.
        device: where inputs and labels are put.
        augment: see the items as the dataset changes them for training, if it does.
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
        # As losses take them: positions of classes are whole numbers, all else is float, sets of labels 0 or 1.
        kind = np.int64 if np.issubdtype(self._targets.dtype, np.integer) else np.float32
        self._labels = torch.from_numpy(np.asarray(self._targets, dtype=kind))
        self._bounds = _bounds(len(self._indices), batch_size, rank, world)
        self._items = self._resident()

    def __len__(self) -> int:
        """Steps in an epoch, the same for every process."""
        return len(self._bounds)

    def targets(self, indices: Indices) -> npt.NDArray[Any]:
        """The truth of those items, as the dataset holds it."""
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
        """The batches of epoch `number` from batch `start` on; what lies before is not read.

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
        # Small enough to put in order at once; a batch then takes a view of them.
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
        shards = [order[low:high] for low, high, _ in bounds]
        positions = torch.from_numpy(order)
        labels = self._labels[positions].to(self._device)
        lengths = None if self._lengths is None else self._lengths[positions].to(self._device)
        for (low, high, global_size), shard, raw in zip(bounds, shards, self._read(view.fetch, shards), strict=True):
            inputs = self._send(raw if self._item_shape is None else to_unit(raw))
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
            # Items travel between processes as 8 bits and become floats here: a quarter of the bytes.
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
            # Without one of its own, the loader draws its seed from the generator of the training.
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
    """Whether nothing is left to be read for those items."""
    return isinstance(fetch, Remembers) and all(map(fetch.cached, shards))


def _by_length(order: Indices, sizes: Indices, step: int, seed: int, number: int) -> Indices:
    """A shuffled order as steps of items alike in length; the last, short step stays the last."""
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
            # Raised here, the loader would bury its message under a traceback.
            return error


def _unchanged(found: Any) -> Any:
    return found


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole group of processes. The training stops after a whole step, for which
    # it still needs its workers; they end with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
