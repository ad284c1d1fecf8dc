"""The feature cache: whatever happens to its files, it gives no wrong number and ends no training."""

import errno
import json
import multiprocessing
import os
import pickle
import shutil
import zlib
from pathlib import Path

import faults
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trainyard import durable
from trainyard.data import cache as module
from trainyard.data.cache import FeatureCache

PARAMETERS = {"n_fft": 400, "top_db": None, "fmin": 0.0, "clip": [1, "a"]}
KEYS = [f"{number:032x}" for number in range(12)]


def expected(key, shape=None):
    """The array of a key, the same in every process."""
    seed = zlib.crc32(key.encode())
    return np.random.default_rng(seed).standard_normal(shape or (2, seed % 40)).astype(np.float32)


class Computer:
    """Computes the entries, and records for which it was called."""

    def __init__(self, keys, shape=None):
        self.keys, self.shape, self.asked = keys, shape, []

    def __call__(self, positions):
        self.asked.append([self.keys[position] for position in positions])
        return [expected(self.keys[position], self.shape) for position in positions]


def check(cache, keys=KEYS, shape=None):
    """Gets all arrays, checks them, and returns which had to be computed."""
    compute = Computer(keys, shape)
    for key, array in zip(keys, cache.get(keys, compute), strict=True):
        np.testing.assert_array_equal(array, expected(key, shape), strict=True)
    assert len(compute.asked) <= 1
    return compute.asked[0] if compute.asked else []


def fresh(root, parameters=PARAMETERS, limit_mb=10.0):
    return FeatureCache(root, parameters, limit_mb=limit_mb)


def total(root):
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def files(root):
    (folder,) = [path for path in root.iterdir() if path.is_dir()]
    return folder, folder / "index.jsonl", folder / "payload.f32"


# -- normal operation


def test_what_is_computed_once_is_found_ever_after(tmp_path):
    cache = fresh(tmp_path)
    assert check(cache, KEYS[:4]) == KEYS[:4]
    assert check(cache, KEYS[2:6]) == KEYS[4:6]
    assert check(cache) == KEYS[6:]
    assert check(cache) == []
    assert check(fresh(tmp_path)) == []
    stats = cache.stats()
    assert (stats["entries"], stats["hits"], stats["misses"]) == (12, 2 + 6 + 12, 4 + 2 + 6)
    assert (stats["full"], stats["failed"], stats["limit_bytes"]) == (False, None, 10 * 2**20)
    assert stats["size_bytes"] == total(Path(stats["directory"]))
    json.dumps(stats)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(min_size=1),
        hnp.arrays(np.uint32, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)),
        min_size=1,
    ),
    st.randoms(),
)
def test_every_array_comes_back_to_the_last_bit(tmp_path_factory, bits, random):
    root = tmp_path_factory.mktemp("cache")
    arrays = {key: values.view(np.float32) for key, values in bits.items()}
    for cache in (fresh(root), fresh(root)):
        for _ in range(2):
            keys = random.sample(list(arrays), len(arrays))
            found = cache.get(keys, lambda positions, keys=keys: [arrays[keys[p]] for p in positions])
            for key, array in zip(keys, found, strict=True):
                assert array.shape == arrays[key].shape
                assert array.tobytes() == arrays[key].tobytes()
    assert cache.stats()["misses"] == 0


def test_arrays_are_read_only_views_of_the_map(tmp_path):
    cache = fresh(tmp_path)
    for _ in range(3):
        (array,) = cache.get(KEYS[:1], Computer(KEYS))
        with pytest.raises(ValueError, match="read-only"):
            array += 1
    assert np.shares_memory(array, cache.get(KEYS[:1], Computer(KEYS))[0])


def test_an_array_of_the_caller_stays_writable_and_may_change(tmp_path):
    cache, array = fresh(tmp_path), np.zeros((2, 3), np.float32)
    cache.get(["a"], lambda _: [array])
    array += 1
    np.testing.assert_array_equal(cache.get(["a"], Computer(["a"]))[0], np.zeros((2, 3)))


def test_arrays_that_are_not_contiguous(tmp_path):
    array = expected("x", (6, 4)).T[::2]
    for _ in range(3):
        np.testing.assert_array_equal(fresh(tmp_path).get(["a"], lambda _: [array])[0], array)


def test_an_array_without_values(tmp_path):
    check(fresh(tmp_path), KEYS[:1])
    assert check(fresh(tmp_path), KEYS[1:2], (2, 0)) == KEYS[1:2]
    assert check(fresh(tmp_path), KEYS[1:2], (2, 0)) == []


def test_an_item_twice_in_a_batch_is_computed_once(tmp_path):
    compute = Computer(["a", "b", "a"])
    first, _, second = fresh(tmp_path).get(["a", "b", "a"], compute)
    assert compute.asked == [["a", "b"]]
    assert first.tobytes() == second.tobytes()
    assert fresh(tmp_path).get([], compute) == []


def test_has_reports_which_are_stored(tmp_path):
    reader, writer = fresh(tmp_path), fresh(tmp_path)
    assert reader.has(KEYS[:3]).tolist() == [False] * 3
    check(writer, KEYS[:2])
    mask = reader.has(KEYS[:3])
    assert mask.dtype == np.bool_
    assert mask.tolist() == [True, True, False]


def test_what_another_process_keeps_is_found(tmp_path):
    one, other = fresh(tmp_path), fresh(tmp_path)
    assert check(one, KEYS[:2]) == KEYS[:2]
    assert check(other, KEYS[:3]) == KEYS[2:3]
    assert check(one, KEYS[:3]) == []
    assert other.stats()["directory"] == one.stats()["directory"]
    assert one.stats()["entries"] == 3


def test_nothing_is_created_before_there_is_something_to_keep(tmp_path):
    cache = fresh(tmp_path / "cache")
    cache.has(KEYS)
    cache.get([], Computer(KEYS))
    assert cache.stats()["entries"] == cache.stats()["size_bytes"] == 0
    with pytest.raises(ZeroDivisionError):
        cache.get(KEYS, lambda _: [1 / 0])
    assert list(tmp_path.iterdir()) == []


def test_what_is_computed_must_fit(tmp_path):
    with pytest.raises(ValueError, match="shorter"):
        fresh(tmp_path).get(KEYS[:2], lambda _: [np.zeros(3, np.float32)])
    with pytest.raises(TypeError, match="float64"):
        fresh(tmp_path).get(KEYS[:1], lambda _: [np.zeros(3)])


# -- the key


@pytest.mark.parametrize(
    "change",
    [
        {"n_fft": 512},
        {"top_db": 80.0},
        {"fmin": 1e-9},
        {"clip": [1, "b"]},
        {"clip": [1]},
        {"more": None},
        {"n_fft": "400"},
    ],
)
def test_every_parameter_is_part_of_the_key(tmp_path, change):
    check(fresh(tmp_path), KEYS[:1])
    assert check(fresh(tmp_path, {**PARAMETERS, **change}), KEYS[:1]) == KEYS[:1]
    assert check(fresh(tmp_path, dict(reversed(PARAMETERS.items()))), KEYS[:1]) == []


def test_so_is_the_version_of_the_format(tmp_path, monkeypatch):
    check(fresh(tmp_path), KEYS[:1])
    monkeypatch.setattr(module, "_FORMAT", 1000)
    assert check(fresh(tmp_path), KEYS[:1]) == KEYS[:1]


def test_the_parameters_can_be_read_by_people(tmp_path):
    check(fresh(tmp_path), KEYS[:1])
    assert json.loads((files(tmp_path)[0] / "parameters.json").read_text())["parameters"] == PARAMETERS


def test_parameters_must_be_comparable(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        fresh(tmp_path, {"fmin": float("nan")})
    with pytest.raises(TypeError, match="JSON"):
        fresh(tmp_path, {"fmin": Path("x")})


# -- processes

FORK = multiprocessing.get_context("fork")


def started(target, *arguments):
    process = FORK.Process(target=target, args=arguments)
    process.start()
    return process


def work(root, name, rounds, limit_mb=10.0):
    cache = fresh(root, limit_mb=limit_mb)
    for number in range(rounds):
        check(cache, [f"same-{number}", f"{name}-{number}", f"same-{number + 1}"])


def doomed(root, nth, kinds):
    durable.calls = faults.KillingCalls(nth, kinds=kinds)
    cache = fresh(root)
    check(cache, KEYS[:2])
    check(cache, KEYS[:5])


def end(process, *codes):
    process.join(60)
    assert process.exitcode in (codes or (0,))
    return process.exitcode


def test_processes_that_write_the_same_and_different_keys_at_once(tmp_path):
    rounds = 60
    for process in [started(work, tmp_path, name, rounds) for name in "abcd"]:
        end(process)
    cache = fresh(tmp_path)
    keys = [f"same-{number}" for number in range(rounds + 1)]
    keys += [f"{name}-{number}" for name in "abcd" for number in range(rounds)]
    assert check(cache, keys) == []
    assert cache.stats()["entries"] == len(keys)
    _, index, _ = files(tmp_path)
    assert len(index.read_bytes().splitlines()) == len(keys)  # none was kept twice


def test_a_copy_sent_to_another_process_opens_the_files_itself(tmp_path):
    cache = fresh(tmp_path)
    check(cache)
    copy = pickle.loads(pickle.dumps(cache))
    assert check(copy) == []
    assert (copy.stats()["hits"], cache.stats()["hits"]) == (12, 0)


def test_forks_count_together(tmp_path):
    cache = fresh(tmp_path)
    check(cache, KEYS[:2])
    for number in range(3):
        end(started(check, cache, KEYS[: 3 + number]))
    stats = cache.stats()
    assert (stats["entries"], stats["misses"], stats["hits"]) == (5, 2 + 3, 2 + 3 + 4)


def test_a_writer_killed_at_any_call_leaves_whole_entries_only(tmp_path):
    kinds = {"open", "write", "rename", "mkdir"}
    codes, nth = [], 0
    while 0 not in codes:
        nth += 1
        root = tmp_path / str(nth)
        codes.append(end(started(doomed, root, nth, kinds), 0, -9))
        cache = fresh(root)
        computed = check(cache)
        assert computed == KEYS[len(KEYS) - len(computed) :]  # in order, each whole or not at all
        assert check(cache) == check(fresh(root)) == []
    assert nth > 10


def test_a_writer_killed_at_any_moment(tmp_path):
    process = started(work, tmp_path, "a", 100_000)
    faults.wait_for(lambda: list(tmp_path.glob("*/index.jsonl")), timeout_s=30)
    for _ in range(20):
        check(fresh(tmp_path), ["same-0", "a-0", "mine"])
    process.kill()
    end(process, -9)
    cache = fresh(tmp_path)
    entries = cache.stats()["entries"]
    check(cache, [f"a-{number}" for number in range(entries)])
    assert check(fresh(tmp_path), [f"a-{number}" for number in range(entries)]) == []


# -- damage


def test_an_index_cut_at_any_byte_of_its_end(tmp_path):
    check(fresh(tmp_path / "whole"), KEYS[:4])
    size = files(tmp_path / "whole")[1].stat().st_size
    line = size // 4
    for cut in range(size - 2 * line, size):
        root = tmp_path / str(cut)
        shutil.copytree(tmp_path / "whole", root)
        faults.truncate(files(root)[1], cut)
        reader = fresh(root)
        kept = reader.has(KEYS[:4]).tolist()
        assert kept in ([True] * 2 + [False] * 2, [True] * 3 + [False])
        assert check(fresh(root), KEYS[:6]) == [k for k, has in zip(KEYS[:4], kept, strict=True) if not has] + KEYS[4:6]
        assert check(reader, KEYS[:6]) == check(fresh(root), KEYS[:6]) == []


def test_an_index_cut_or_damaged_while_it_is_open(tmp_path):
    cache = fresh(tmp_path)
    check(cache, KEYS[:4])
    check(cache, KEYS[:4])
    _, index, _ = files(tmp_path)
    faults.truncate(index, -30)
    assert check(cache, KEYS[:6]) == KEYS[4:6]
    faults.flip_byte(index, 20)
    faults.flip_byte(index, index.stat().st_size // 2)
    assert check(cache, KEYS[:8]) == KEYS[6:8]
    check(fresh(tmp_path), KEYS[:8])
    assert check(fresh(tmp_path), KEYS[:8]) == []


def test_a_flipped_byte_of_a_payload_costs_one_computation(tmp_path):
    check(fresh(tmp_path / "whole"), KEYS[:3])
    size = files(tmp_path / "whole")[2].stat().st_size
    found = 0
    for offset in range(0, size, 7):
        root = tmp_path / str(offset)
        shutil.copytree(tmp_path / "whole", root)
        faults.flip_byte(files(root)[2], offset)
        computed = check(fresh(root), KEYS[:3])
        found += len(computed)
        assert len(computed) <= 1  # none for a byte of the padding
        assert check(fresh(root), KEYS[:3]) == []
    assert found > size / 7 / 2


def test_a_payload_cut_short(tmp_path):
    check(fresh(tmp_path), KEYS[:4])
    _, _, payload = files(tmp_path)
    for cut in (payload.stat().st_size - 3, 65, 0):
        faults.truncate(payload, cut)
        assert check(fresh(tmp_path), KEYS[:4])
        assert check(fresh(tmp_path), KEYS[:4]) == []


@pytest.mark.parametrize("name", ["index.jsonl", "payload.f32", "parameters.json"])
def test_a_file_that_was_deleted(tmp_path, name):
    cache = fresh(tmp_path)
    check(cache)
    check(cache)
    (files(tmp_path)[0] / name).unlink()
    assert check(cache) == []
    computed = check(fresh(tmp_path), [*KEYS, "new"])
    assert computed == (["new"] if name == "parameters.json" else [*KEYS, "new"])
    check(cache, [*KEYS, "new", "newer"])
    assert check(fresh(tmp_path), [*KEYS, "new", "newer"]) == []


@pytest.mark.parametrize("whole", [False, True])
def test_the_folder_may_be_deleted_at_any_time(tmp_path, whole):
    root = tmp_path / "cache"
    cache, other = fresh(root), fresh(root)
    check(cache)
    views = cache.get(KEYS, Computer(KEYS))
    shutil.rmtree(root if whole else files(root)[0])
    assert check(cache) == []  # from the files that are still open
    assert check(other, KEYS[:3]) == KEYS[:3]
    assert check(cache, [*KEYS, "new"])
    check(cache, [*KEYS, "new"])
    assert check(fresh(root), [*KEYS[:3], "new"]) == []
    shutil.rmtree(root)
    cache.stats()
    for key, view in zip(KEYS, views, strict=True):
        np.testing.assert_array_equal(view, expected(key))


# -- no room, no permission


def test_a_full_disk_is_reported_and_costs_time_only(tmp_path):
    for free in range(0, 4000, 130):
        cache = fresh(tmp_path / str(free))
        with faults.disk_full(free):
            check(cache, KEYS[:2])
            check(cache)
            assert (check(cache) == []) == (cache.stats()["failed"] is None)
            failed = cache.stats()["failed"]
        assert failed in (None, os.strerror(errno.ENOSPC))
        check(fresh(tmp_path / str(free)))
        assert check(fresh(tmp_path / str(free))) == []
    assert failed is None


def test_any_call_that_fails_costs_time_only(tmp_path):
    states = faults.States(tmp_path, lambda state: check(fresh(state, {"other": 1}, limit_mb=0.001), KEYS[:1]))

    def attack(state):
        cache = fresh(state, limit_mb=0.008)  # the other parameters must go
        check(cache, KEYS[:2])
        check(cache)
        check(cache)

    attacked = faults.sweep(attack, lambda state: check(fresh(state)), fresh=states)
    assert attacked > 10


def test_a_cache_that_cannot_be_written_is_still_read(tmp_path):
    check(fresh(tmp_path), KEYS[:2])
    cache = fresh(tmp_path)
    with faults.failing(1, kinds={"open"}, error=errno.EACCES):
        assert check(cache, KEYS[:4]) == KEYS[2:4]
    assert cache.stats()["failed"] == os.strerror(errno.EACCES)
    assert check(cache, KEYS[:4]) == KEYS[2:4]


def test_a_file_in_the_place_of_the_directory(tmp_path):
    (tmp_path / "cache").write_text("")
    cache = fresh(tmp_path / "cache")
    assert check(cache) == check(cache) == KEYS
    assert cache.stats()["failed"] == os.strerror(errno.ENOTDIR)


def test_a_lock_that_is_never_free(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LOCK_TIMEOUT_S", 0.05)
    cache = fresh(tmp_path)
    with durable.locked(tmp_path / "lock"):
        assert check(cache) == KEYS
    assert cache.stats()["failed"] == os.strerror(errno.ETIMEDOUT)


# -- the limit

LARGE = (1000,)  # 4,000 bytes


def test_beyond_the_limit_nothing_is_stored(tmp_path):
    cache = fresh(tmp_path, limit_mb=0.02)
    assert not cache.stats()["full"]
    assert check(cache, KEYS, LARGE) == KEYS
    assert cache.stats()["full"]
    missing = check(cache, KEYS, LARGE)
    assert missing == check(cache, KEYS, LARGE)  # computed each time
    assert 3 <= len(KEYS) - len(missing) == cache.stats()["entries"]
    assert total(tmp_path) <= 0.02 * 2**20
    assert check(fresh(tmp_path), KEYS, LARGE) == missing


def test_a_limit_of_nothing_creates_nothing(tmp_path):
    cache = fresh(tmp_path / "cache", limit_mb=0)
    assert check(cache) == check(cache) == KEYS
    assert cache.stats()["full"]
    assert list(tmp_path.iterdir()) == []


def test_the_least_recently_used_parameters_go_first(tmp_path):
    def use(number, at, keys=KEYS[:2]):
        cache = fresh(tmp_path, {"n": number}, limit_mb=0.03)
        check(cache, keys, LARGE)
        check(cache, keys, LARGE)
        folder = Path(cache.stats()["directory"])
        os.utime(folder / "index.jsonl", (at, at))
        return folder

    old, older, newest = use(1, 2000), use(2, 1000), use(3, 3000)
    assert all(folder.exists() for folder in (old, older, newest))
    mine = use(4, 4000)
    assert [folder.exists() for folder in (old, older, newest, mine)] == [True, False, True, True]
    use(1, 5000)  # opened again
    assert use(5, 6000).exists()
    assert [folder.exists() for folder in (old, newest, mine)] == [True, False, True]
    assert total(tmp_path) <= 0.03 * 2**20
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {
        folder.name for folder in (old, mine, use(5, 6000))
    }


def test_parameters_in_use_stay(tmp_path):
    other = fresh(tmp_path, {"n": 1}, limit_mb=0.02)
    check(other, KEYS[:4], LARGE)
    check(other, KEYS[:4], LARGE)
    mine = fresh(tmp_path, {"n": 2}, limit_mb=0.02)
    assert check(mine, KEYS[:4], LARGE) == KEYS[:4]
    assert mine.stats()["full"]
    assert mine.stats()["entries"] < 4
    assert check(other, KEYS[:4], LARGE) == []
    del other
    mine = fresh(tmp_path, {"n": 2}, limit_mb=0.02)
    check(mine, KEYS[:4], LARGE)
    assert check(mine, KEYS[:4], LARGE) == []
    assert total(tmp_path) <= 0.02 * 2**20


def test_other_files_in_the_directory_are_left_alone(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    check(fresh(tmp_path, {"n": 1}, limit_mb=0.01), KEYS[:2], LARGE)
    check(fresh(tmp_path, {"n": 2}, limit_mb=0.01), KEYS[:2], LARGE)
    assert (tmp_path / "notes" / "a.txt").read_text() == "mine"


def test_processes_keep_the_limit_together(tmp_path):
    for process in [started(work, tmp_path, name, 40, 0.015) for name in "abc"]:
        end(process)
    assert 0.01 * 2**20 < total(tmp_path) <= 0.015 * 2**20
