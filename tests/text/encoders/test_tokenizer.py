"""Ids are transformers' own, for published tokenizers and for one made here, whose bytes depend on its texts alone."""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_texts import HARD, TEXTS, TYPES, theirs, tokenizer, write_byte_bpe

from trainyard.errors import CheckpointError, ConfigError, DataError
from trainyard.models import huggingface
from trainyard.text.encoders.tokenizer import Tokenizer, load_tokenizer, tokenizer_from_files, train_tokenizer


def auto(path: Path) -> Any:
    """The tokenizer that transformers finds in a directory."""
    with huggingface.errors_only(), huggingface.without_torchao():
        return huggingface.transformers().AutoTokenizer.from_pretrained(path)


def write(files: dict[str, str], path: Path) -> Path:
    path.mkdir(exist_ok=True)
    for name, text in files.items():
        (path / name).write_bytes(text.encode())
    return path


def lists(found: Tokenizer, texts: list[str], max_tokens: int) -> list[list[int]]:
    ids, offsets = found.encode(texts, max_tokens)
    return [ids[a:b].tolist() for a, b in itertools.pairwise(offsets)]


def assert_same(found: Tokenizer, path: Path, max_tokens: int = 24) -> None:
    own, others = lists(found, HARD, max_tokens), auto(path)
    for text, ids in zip(HARD, own, strict=True):
        assert ids == others(text, truncation=True, max_length=max_tokens)["input_ids"], text
    assert others.pad_token_id == found.pad_id


@pytest.mark.parametrize("type_", TYPES)
def test_a_published_one_gives_the_same_ids_as_do_the_files_it_is_kept_in(type_: str, tmp_path: Path) -> None:
    theirs(type_, tmp_path / "there")
    found = load_tokenizer(str(tmp_path / "there"))
    files = found.files()
    vocabulary = {"vocab.json", "merges.txt"} if type_ == "roberta" else {"vocab.txt"}
    assert set(files) == {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", *vocabulary}
    kept = write(files, tmp_path / "kept")
    assert_same(found, tmp_path / "there")
    assert_same(found, kept)
    write({"config.json": (tmp_path / "there/config.json").read_text()}, kept)
    assert_same(found, kept)  # the type of the model may choose another class of tokenizers
    again = tokenizer_from_files({**files, "config.json": "{}"})
    assert again.files() == files
    assert lists(again, HARD, 24) == lists(found, HARD, 24)
    assert json.loads(files["tokenizer_config.json"]).keys().isdisjoint({"name_or_path", "is_local", "max_length"})


@pytest.mark.parametrize("file", ["vocab.txt", "tokenizer.json"])
def test_one_file_is_enough(file: str, tmp_path: Path) -> None:
    theirs("bert", tmp_path)
    for name in tokenizer().files():
        if name != file:
            (tmp_path / name).unlink()
    assert_same(load_tokenizer(str(tmp_path)), tmp_path)


def test_the_vocabulary_files_alone_give_the_same_ids(tmp_path: Path) -> None:
    """For readers that know no tokenizer.json."""
    for type_, names in (("bert", ["vocab.txt"]), ("roberta", ["vocab.json", "merges.txt"])):
        theirs(type_, tmp_path / type_)
        found = load_tokenizer(str(tmp_path / type_))
        kept = write({name: found.files()[name] for name in names}, tmp_path / f"{type_}-kept")
        write({"config.json": (tmp_path / type_ / "config.json").read_text()}, kept)
        assert_same(found, kept)


def test_padding_and_truncation_of_the_published_file_are_not_kept(tmp_path: Path) -> None:
    theirs("bert", tmp_path)
    backend = huggingface.tokenizers().Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.enable_truncation(3)
    backend.enable_padding(length=9)
    backend.save(str(tmp_path / "tokenizer.json"))
    found = load_tokenizer(str(tmp_path))
    assert [len(ids) for ids in lists(found, ["the cat sat", ""], 30)] == [5, 2]
    assert json.loads(found.files()["tokenizer.json"])["padding"] is None
    assert json.loads(found.files()["tokenizer.json"])["truncation"] is None


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    write_byte_bpe(tmp_path)
    found = load_tokenizer(str(tmp_path))
    assert (found.longest, found.pad_id, found.vocab_size) == (40, 1, len(auto(tmp_path)))
    assert (found.limited(7).longest, found.limited(7).pad_id) == (7, 1)
    assert tokenizer().longest is None


# -- encoding


def test_ids_and_offsets() -> None:
    ids, offsets = tokenizer().encode(TEXTS, 50)
    assert (ids.dtype, offsets.dtype) == (np.int32, np.int64)
    assert offsets.shape == (len(TEXTS) + 1,)
    assert offsets[0] == 0
    assert offsets[-1] == len(ids)
    ids, offsets = tokenizer().encode([], 50)
    assert len(ids) == 0
    assert offsets.tolist() == [0]


def test_long_texts_are_cut_and_keep_their_special_tokens() -> None:
    whole, cut = lists(tokenizer(), TEXTS, 100), lists(tokenizer(), TEXTS, 6)
    for long, short in zip(whole, cut, strict=True):
        assert short == (long if len(long) <= 6 else [*long[:5], long[-1]])
    assert lists(tokenizer(), TEXTS, 100) == whole, "a cut is not remembered"


def test_many_texts_are_as_each_alone() -> None:
    texts = [f"{TEXTS[index % len(TEXTS)]} {index}" for index in range(9000)]
    ids, offsets = tokenizer().encode(texts, 20)
    for index in (0, 4095, 4096, 8191, 8192, 8999):
        assert ids[offsets[index] : offsets[index + 1]].tolist() == lists(tokenizer(), [texts[index]], 20)[0]


def test_the_side_that_is_cut_is_the_tokenizers(tmp_path: Path) -> None:
    files = tokenizer().files()
    config = json.loads(files["tokenizer_config.json"]) | {"truncation_side": "left"}
    found = tokenizer_from_files({**files, "tokenizer_config.json": json.dumps(config)})
    assert_same(found, write(found.files(), tmp_path), 5)
    assert lists(found, TEXTS[:1], 5) != lists(tokenizer(), TEXTS[:1], 5)


@pytest.mark.parametrize(("max_tokens", "limit"), [(2, "to 3 or more"), (0, "to 3 or more"), (41, "to 40 or less")])
def test_numbers_of_tokens_that_cannot_be(max_tokens: int, limit: str) -> None:
    with pytest.raises(ConfigError) as raised:
        tokenizer().limited(40).encode(TEXTS, max_tokens)
    assert (raised.value.value, raised.value.keys) == (max_tokens, ("data.max_tokens",))
    assert f"data.max_tokens {limit}" in raised.value.remedy


def test_half_a_character_is_reported() -> None:
    for use in (lambda t: tokenizer().encode(t, 9), lambda t: train_tokenizer(t, 200)):
        with pytest.raises(DataError) as raised:
            use(["fine", "a \ud83d"])
        assert (raised.value.value, raised.value.place) == ("\ud83d", "texts[1]")
        assert raised.value.remedy


def _encode_in_child(queue: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        queue.put((lists(tokenizer(), TEXTS, 9), [str(each.message) for each in caught]))


def test_a_fork_after_encoding_goes_on_quietly(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """The library warns on the terminal where threads were used before a fork."""
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    wanted = lists(tokenizer(), TEXTS * 500, 9)[: len(TEXTS)]
    assert "TOKENIZERS_PARALLELISM" not in os.environ
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python: pytest itself has threads
        child = context.Process(target=_encode_in_child, args=(queue,))
        child.start()
    assert queue.get(timeout=60) == (wanted, [])
    child.join()
    said = capfd.readouterr()
    assert "tokenizers" not in said.out + said.err


# -- one made here


def corpus() -> list[str]:
    """Texts with more different characters than a vocabulary has room for, and words that tie."""
    draw = random.Random(3)
    letters = [chr(0x4E00 + index) for index in range(1500)] + [chr(0x61 + index) for index in range(26)] * 40
    words = ["".join(draw.choices(letters, k=draw.randint(1, 6))) for _ in range(3000)]
    return [" ".join(draw.choices(words, k=8)) for _ in range(600)]


SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from test_tokenizer import corpus
from trainyard.text.encoders.tokenizer import train_tokenizer
files = train_tokenizer(corpus(), 1500).files()
print(hashlib.sha256("".join(files[name] for name in sorted(files)).encode()).hexdigest())
"""


def test_the_same_texts_make_the_same_bytes_in_other_processes() -> None:
    digests = set()
    for number in range(2):
        found = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)],
            capture_output=True,
            text=True,
            check=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "PYTHONHASHSEED": str(number),
                "TOKENIZERS_PARALLELISM": str(number == 1).lower(),
            },
        )
        digests.add(found.stdout.strip())
    files = train_tokenizer(corpus(), 1500).files()
    digests.add(hashlib.sha256("".join(files[name] for name in sorted(files)).encode()).hexdigest())
    assert len(digests) == 1


def test_the_order_of_the_texts_does_not_matter() -> None:
    assert train_tokenizer(TEXTS[::-1], 200).files() == train_tokenizer(TEXTS, 200).files()


def test_it_is_berts_kind() -> None:
    made = tokenizer()
    vocabulary = made.files()["vocab.txt"].splitlines()
    assert vocabulary[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert made.pad_id == 0
    assert "the" in vocabulary
    assert "wonder" in vocabulary  # frequent, and the start of words
    first = lists(made, ["The CAT", "the cat"], 9)
    assert first[0] == first[1]
    assert [vocabulary[index] for index in first[0]] == ["[CLS]", "the", "cat", "[SEP]"]


def test_transformers_reads_it(tmp_path: Path) -> None:
    assert_same(tokenizer(), write(tokenizer().files(), tmp_path))
    batch = auto(tmp_path)(TEXTS, padding=True, return_tensors="np")
    assert set(batch) == {"input_ids", "attention_mask"}, "what every encoder takes"


@pytest.mark.parametrize("size", [100, 400, 1500])
def test_its_vocabulary_is_no_larger_than_asked(size: int) -> None:
    made = train_tokenizer(corpus(), size)
    assert made.vocab_size == len(made.files()["vocab.txt"].splitlines()) <= size
    assert max(made.encode(corpus(), 30)[0]) < size


def test_what_no_tokenizer_can_be_made_of() -> None:
    with pytest.raises(DataError) as empty:
        train_tokenizer(["", " \n"], 200)
    assert (empty.value.value, empty.value.place) == (2, "train")
    with pytest.raises(ConfigError) as small:
        train_tokenizer(TEXTS, 99)
    assert (small.value.value, small.value.keys) == (99, ("model.vocabulary",))
    assert small.value.remedy


# -- what cannot be loaded


def test_a_directory_without_a_tokenizer_is_reported(tmp_path: Path) -> None:
    """transformers would go on with one that knows five tokens."""
    theirs("bert", tmp_path)
    for name in tokenizer().files():
        (tmp_path / name).unlink()
    with pytest.raises(ConfigError) as raised:
        load_tokenizer(str(tmp_path))
    assert (raised.value.value, raised.value.keys) == (str(tmp_path), ("model.path",))
    assert "tokenizer.json" in raised.value.remedy
    (tmp_path / "config.json").unlink()
    with pytest.raises(ConfigError) as raised:
        load_tokenizer(str(tmp_path))
    assert (raised.value.value, raised.value.keys) == (str(tmp_path), ("model.path",))


@pytest.mark.parametrize("pad_id", [None, 3])
def test_without_a_padding_token_the_models_is_taken_or_none(pad_id: int | None, tmp_path: Path) -> None:
    theirs("gpt2", tmp_path, pad_token_id=pad_id, bos_token_id=0, eos_token_id=2)
    write_byte_bpe(tmp_path, tokenizer_class="PreTrainedTokenizerFast")
    if pad_id is None:
        with pytest.raises(ConfigError) as caught:
            load_tokenizer(str(tmp_path))
        assert (caught.value.value, caught.value.keys) == (str(tmp_path), ("model.path",))
        assert "pad_token in its tokenizer_config.json" in caught.value.remedy
        return
    found = load_tokenizer(str(tmp_path))
    assert found.pad_id == pad_id
    assert_same(found, write(found.files(), tmp_path / "kept"))


@pytest.mark.parametrize("damage", ["gone", "torn", "no json", "other"])
def test_files_of_a_checkpoint_that_are_no_tokenizer(damage: str) -> None:
    files = tokenizer().files()
    if damage == "gone":
        del files["tokenizer.json"]
    elif damage == "torn":
        files["tokenizer.json"] = files["tokenizer.json"][:200]
    elif damage == "no json":
        files["tokenizer_config.json"] = "{"
    else:
        files["tokenizer.json"] = '{"a": 1}'
    with pytest.raises(CheckpointError) as raised:
        tokenizer_from_files(files)
    assert raised.value.value == (["tokenizer.json"] if damage == "gone" else None)
    assert "tokenizer" in raised.value.remedy


def test_offline_a_hub_id_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError) as caught:
        load_tokenizer("trainyard-tests/none")
    assert "HF_HUB_OFFLINE" in caught.value.what
    assert caught.value.keys == ("model.path",)
    assert caught.value.value == "trainyard-tests/none"


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tokenizers" else find(name))
    with pytest.raises(ConfigError, match="needs the library tokenizers") as caught:
        train_tokenizer(TEXTS, 200)
    assert "trainyard[text]" in caught.value.remedy
