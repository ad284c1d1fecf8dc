import dataclasses
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_images import image_tree

from trainyard.data.arrays import InMemory
from trainyard.data.batches import Batches
from trainyard.data.dataset import Dataset
from trainyard.errors import DataError
from trainyard.images.schema import ImageFolderData
from trainyard.images.sources.files import load_folder
from trainyard.text.sources import Tokens


def dataset(count=50, fetch=None):
    items = torch.arange(count * 6, dtype=torch.float32).reshape(count, 1, 2, 3)
    return Dataset(
        name="numbers",
        classes=("even", "odd"),
        ids=tuple(f"n[{index}]" for index in range(count)),
        labels=np.arange(count) % 2,
        splits=np.array(["train"] * count),
        groups=None,
        digests=tuple(f"{index:x}" for index in range(count)),
        item_shape=(1, 2, 3),
        fetch=fetch or InMemory(items),
    )


def batches(data=None, batch_size=8, *, indices=None, shuffle=True, seed=0, **options):
    data = data or dataset()
    indices = np.arange(len(data)) if indices is None else indices
    return Batches(data, indices, batch_size, shuffle=shuffle, seed=seed, **options)


def same(ones, others):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_array_equal(one.indices, other.indices)
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.labels, other.labels)
        assert one.global_size == other.global_size


SIZES = st.integers(1, 9)


@settings(deadline=None)
@given(st.integers(0, 40), SIZES, st.integers(1, 4), st.booleans(), st.integers(0, 3))
def test_an_epoch_has_every_item_once_over_all_processes(count, size, world, shuffle, epoch):
    data = dataset(40)
    wanted = np.arange(40)[::-1][:count]
    ranks = [batches(data, size, indices=wanted, shuffle=shuffle, rank=rank, world=world) for rank in range(world)]
    steps = [list(rank.epoch(epoch)) for rank in ranks]
    assert {len(taken) for taken in steps} == {len(ranks[0])} == {-(-count // (size * world))}
    seen = []
    for parts in zip(*steps, strict=True):
        joined = np.concatenate([part.indices for part in parts])
        assert {part.global_size for part in parts} == {len(joined)}
        lengths = [len(part) for part in parts]
        assert max(lengths) - min(lengths) <= 1
        assert min(lengths) > 0 or len(joined) < world
        for part in parts:
            assert part.inputs.shape == (len(part), 1, 2, 3)
            np.testing.assert_array_equal(part.inputs[:, 0, 0, 0].numpy(), part.indices * 6)
            np.testing.assert_array_equal(part.labels.numpy(), data.labels[part.indices])
        seen.append(joined)
    flat = np.concatenate([np.empty(0, np.int64), *seen])
    np.testing.assert_array_equal(np.sort(flat), np.sort(wanted))
    if not shuffle:
        np.testing.assert_array_equal(flat, wanted)


@settings(deadline=None)
@given(SIZES, st.integers(1, 4), st.integers(0, 2))
def test_processes_together_see_the_batches_of_one(size, world, epoch):
    alone = list(batches(batch_size=size * world).epoch(epoch))
    parts = [list(batches(batch_size=size, rank=rank, world=world).epoch(epoch)) for rank in range(world)]
    for whole, *shards in zip(alone, *parts, strict=True):
        np.testing.assert_array_equal(whole.indices, np.concatenate([shard.indices for shard in shards]))
        assert torch.equal(whole.inputs, torch.cat([shard.inputs for shard in shards]))


@pytest.mark.parametrize("start", [0, 3, 6, 7])
def test_an_epoch_continued_is_the_tail_of_the_epoch(start):
    source = batches()
    same(list(source.epoch(4))[start:], source.epoch(4, start))


def test_batches_before_the_start_are_not_fetched():
    fetched = []

    def fetch(indices):
        fetched.extend(indices.tolist())
        return torch.zeros(len(indices), 1, 2, 3)

    source = batches(dataset(fetch=fetch))
    tail = list(source.epoch(0, 5))
    assert fetched == np.concatenate([batch.indices for batch in tail]).tolist()
    assert len(fetched) == 10


@pytest.mark.parametrize("start", [-1, 8])
def test_a_start_outside_the_epoch_is_refused_at_once(start):
    with pytest.raises(ValueError, match="epoch 2 has 7 batches: cannot start at batch"):
        batches().epoch(2, start)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"rank": 2, "world": 2}, {"workers": -1}])
def test_senseless_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match="batch_size="):
        batches(**wrong)


def test_epochs_and_seeds_differ_and_nothing_else_decides():
    def order(seed, epoch):
        return tuple(np.concatenate([batch.indices for batch in batches(seed=seed).epoch(epoch)]).tolist())

    assert len({order(seed, epoch) for seed in range(3) for epoch in range(3)}) == 9
    torch.manual_seed(1)
    np.random.seed(1)
    first = order(0, 0)
    random.random(), torch.rand(3), np.random.rand(3)
    assert order(0, 0) == first


def test_the_last_batch_is_kept_and_a_surplus_process_gets_an_empty_one():
    source = [batches(dataset(9), 2, rank=rank, world=4) for rank in range(4)]
    last = [list(one.epoch(0))[-1] for one in source]
    assert [len(batch) for batch in last] == [1, 0, 0, 0]
    assert {batch.global_size for batch in last} == {1}
    assert last[3].inputs.shape == (0, 1, 2, 3)


def test_large_eight_bit_data_is_scaled_batch_by_batch():
    items = torch.arange(150, dtype=torch.uint8).reshape(25, 1, 2, 3)
    small = batches(dataset(25, InMemory(items)))
    large = batches(dataset(25, InMemory(items, float_limit_bytes=0)))
    same(small.epoch(1), large.epoch(1))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    image_tree(root, per_class=10)
    return root


def images(tree, cache_mb):
    return load_folder(ImageFolderData(str(tree), image_size=(9, 10)), cache_mb=cache_mb)


@pytest.mark.parametrize("cache_mb", [0, 512])
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_neither_the_order_nor_a_bit(tree, cache_mb, workers):
    alone = batches(images(tree, 512), 7)
    helped = batches(images(tree, cache_mb), 7, workers=workers)
    for epoch in range(2):
        same(alone.epoch(epoch), helped.epoch(epoch))
    same(alone.epoch(0, 2), helped.epoch(0, 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_global_generators_are_not_advanced(tree, workers):
    source = batches(images(tree, 0), 7, workers=workers)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    list(source.epoch(0))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    np.testing.assert_array_equal(np.random.get_state()[1], before[2])


def test_shards_of_files_match_too(tree):
    data = images(tree, 0)
    whole = list(batches(data, 8).epoch(0))
    parts = [list(batches(data, 4, rank=rank, world=2, workers=rank).epoch(0)) for rank in range(2)]
    for one, *shards in zip(whole, *parts, strict=True):
        assert torch.equal(one.inputs, torch.cat([shard.inputs for shard in shards]))


def test_an_epoch_may_be_left_early_with_workers(tree):
    source = batches(images(tree, 0), 4, workers=2)
    first = next(iter(source.epoch(0)))
    same([first], list(source.epoch(0))[:1])


def test_what_workers_decode_is_kept_for_all(tree):
    data = images(tree, 512)
    data.fetch._filled[:] = False
    assert not data.fetch.cached(np.arange(30))
    list(batches(data, 4, workers=2).epoch(0))
    assert data.fetch.cached(np.arange(30))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_goes_bad_is_named_without_a_traceback_in_the_message(tmp_path, workers):
    image_tree(tmp_path, per_class=10)
    data = images(tmp_path, 0)
    (tmp_path / "barn" / "barn-003.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        list(batches(data, 4, workers=workers).epoch(0))
    assert (caught.value.value, caught.value.place) == ("empty file", str(tmp_path / "barn" / "barn-003.png"))
    assert "Traceback" not in str(caught.value)
    assert caught.value.remedy


def ragged(count=1600, seed=0):
    """Lengths like those of real texts: many short, few long. Token n of an item is 1000 * its position + n."""
    lengths = np.clip(np.random.default_rng(seed).lognormal(2.7, 0.6, count).astype(np.int64), 1, 128)
    ids = np.concatenate([1000 * item + np.arange(length) for item, length in enumerate(lengths)])
    tokens = Tokens(ids, np.concatenate([[0], np.cumsum(lengths)]), -1)
    return dataclasses.replace(dataset(count, tokens), item_shape=(128,), ragged=True, lengths=lengths)


def padding(found):
    return 1 - sum(int(batch.lengths.sum()) for batch in found) / sum(batch.inputs.numel() for batch in found)


RAGGED = ragged(97)


@settings(deadline=None)
@given(st.integers(0, 97), SIZES, st.integers(1, 4), st.booleans(), st.integers(0, 3))
def test_ragged_items_are_there_once_as_they_are_over_all_processes(count, size, world, shuffle, epoch):
    wanted = np.arange(97)[::-1][:count]
    ranks = [batches(RAGGED, size, indices=wanted, shuffle=shuffle, rank=rank, world=world) for rank in range(world)]
    alone = list(batches(RAGGED, size * world, indices=wanted, shuffle=shuffle).epoch(epoch))
    steps = [list(rank.epoch(epoch)) for rank in ranks]
    assert {len(taken) for taken in steps} == {len(alone)}
    for whole, *parts in zip(alone, *steps, strict=True):
        np.testing.assert_array_equal(whole.indices, np.concatenate([part.indices for part in parts]))
        assert {part.global_size for part in parts} == {len(whole)}
        for part in parts:
            assert part.inputs.dtype == torch.int64
            assert part.inputs.shape == (len(part), max(1, part.lengths.max().item() if len(part) else 1))
            for row, length, index in zip(part.inputs, part.lengths, part.indices, strict=True):
                assert length == RAGGED.lengths[index]
                assert torch.equal(row[:length], 1000 * index + torch.arange(length))
                assert (row[length:] == -1).all()
    seen = np.concatenate([np.empty(0, np.int64), *(batch.indices for batch in alone)])
    np.testing.assert_array_equal(np.sort(seen), np.sort(wanted))


@pytest.mark.parametrize(("count", "most"), [(1600, 0.16), (20_000, 0.08)])
def test_ragged_batches_have_little_padding_and_are_mixed_anew_each_epoch(count, most):
    data = ragged(count)
    source = batches(data, 32)
    epochs = [list(source.epoch(number)) for number in range(2)]
    by_chance = batches(dataclasses.replace(data, ragged=False), 32).order(0)
    longest = [data.lengths[by_chance[start : start + 32]].max() * 32 for start in range(0, count, 32)]
    assert 1 - data.lengths.sum() / sum(longest) > 0.5
    for found in epochs:
        assert padding(found) < most
    mates = [{frozenset(batch.indices.tolist()) for batch in found} for found in epochs]
    assert not mates[0] & mates[1]
    # Neither short nor long ones come first: on average the length does not depend on the step.
    position = [data.lengths[source.order(number)][: count // 32 * 32].reshape(-1, 32).mean(1) for number in range(40)]
    assert abs(np.corrcoef(np.mean(position, axis=0), np.arange(count // 32))[0, 1]) < 0.3
    evaluated = list(batches(data, 32, shuffle=False).epoch(0))
    assert padding(evaluated) < most
    assert (np.diff([batch.inputs.shape[1] for batch in evaluated]) >= 0).all()


@pytest.mark.parametrize("start", [0, 1, 7, 12, 13])
def test_a_ragged_epoch_continued_is_its_tail_whatever_the_workers(start):
    source = batches(RAGGED, workers=2)  # not started, as all is in memory
    same(list(source.epoch(4))[start:], batches(RAGGED).epoch(4, start))


def test_several_labels_are_floats():
    labels = np.arange(50 * 3).reshape(50, 3) % 2 == 0
    for data in (dataset(), dataset(fetch=lambda indices: torch.zeros(len(indices), 1, 2, 3))):
        several = dataclasses.replace(data, classes=("a", "b", "c"), labels=labels)
        for batch in batches(several).epoch(0):
            assert batch.labels.dtype == torch.float32
            np.testing.assert_array_equal(batch.labels.numpy(), labels[batch.indices])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_arrive_on_the_device(tree):
    for data in (dataset(), images(tree, 0), RAGGED):
        here, there = batches(data), batches(data, device="cuda")
        for one, other in zip(here.epoch(0), there.epoch(0), strict=True):
            assert other.inputs.device.type == other.labels.device.type == "cuda"
            assert torch.equal(one.inputs, other.inputs.cpu())
            assert torch.equal(one.labels, other.labels.cpu())
