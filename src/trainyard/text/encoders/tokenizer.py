"""From texts to token ids: by a published tokenizer, by that of a checkpoint, or by one trained on training texts.

A tokenizer is saved as the files that `AutoTokenizer` reads, and works from them alone: the ids are those that
transformers gives for the same text. Knows no datasets and no networks.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainyard.errors import CheckpointError, ConfigError, DataError
from trainyard.models.huggingface import tokenizers, transformers
from trainyard.models.pretrained import load_config, load_from

_TOKENIZER, _CONFIG, _SPECIAL_MAP = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"
_SPECIAL = ("bos_token", "cls_token", "eos_token", "mask_token", "pad_token", "sep_token", "unk_token")
_MADE_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # of a new tokenizer, in the order of their ids
_FEWEST = 100  # tokens of a vocabulary; a smaller one would have hardly more than letters
_MOST_CHARACTERS = 1000  # of a vocabulary, which emoji and ideograms could fill otherwise
_AT_ONCE = 4096  # texts
_NO_LIMIT = 10**9  # transformers writes 1e30 for a tokenizer without a limit
# Keys in which an AutoTokenizer records how it was loaded or last called, which do not belong to the tokenizer.
_PASSING = (
    *("is_local", "local_files_only", "name_or_path"),
    *("max_length", "pad_to_multiple_of", "stride", "truncation_strategy"),
)


class Tokenizer:
    """Token ids of texts, with the special tokens that a model expects.

    Args:
        tokenizer_json: the contents of `tokenizer.json`, without padding and truncation.
        config: the contents of `tokenizer_config.json`.

    Raises:
        ConfigError: it has no padding token.
    """

    def __init__(self, tokenizer_json: str, config: Mapping[str, Any]) -> None:
        self._json = tokenizer_json
        self._config = dict(config)
        self._backend = tokenizers().Tokenizer.from_str(tokenizer_json)
        self.vocab_size: int = max(self._backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        padding = self._special().get("pad_token")
        pad_id = None if padding is None else self._backend.token_to_id(_content(padding))
        if pad_id is None:
            what = "the tokenizer has no padding token, so texts of different lengths cannot share a batch"
            remedy = "Set pad_token in its tokenizer_config.json, or choose another model.path."
            raise ConfigError([what], remedy, keys=["model.path"])
        self.pad_id: int = pad_id

    @property
    def longest(self) -> int | None:
        """The largest number of tokens that its model takes, including special ones; None if it has no limit."""
        limit = self._config.get("model_max_length")
        return int(limit) if limit is not None and limit < _NO_LIMIT else None

    def limited(self, longest: int) -> Tokenizer:
        """The same tokenizer for a model that takes at most `longest` tokens."""
        return Tokenizer(self._json, {**self._config, "model_max_length": longest})

    def encode(self, texts: Sequence[str], max_tokens: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Ids of texts, int32 [total], and the offset of each, int64 [N + 1], on one core: 30,000 short texts a second.

        An empty text gets its special tokens only; one of more than `max_tokens`, special ones included, is truncated.

        Raises:
            ConfigError: `max_tokens` is more than the model takes, or leaves no room for text.
            DataError: a text that cannot be encoded as UTF-8.
        """
        backend = self._backend
        fewest = backend.num_special_tokens_to_add(False) + 1
        if max_tokens < fewest:
            why = f"leaves no room for text: {fewest - 1} tokens are special"
            raise ConfigError.of("data.max_tokens", max_tokens, why, f"Set data.max_tokens to {fewest} or more.")
        if self.longest is not None and max_tokens > self.longest:
            raise too_long(max_tokens, self.longest)
        _check_unicode(texts)
        backend.enable_truncation(max_tokens, direction=self._config.get("truncation_side", "right"))
        ids, lengths = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)]
        with _serial():
            for start in range(0, len(texts), _AT_ONCE):
                encoded = [found.ids for found in backend.encode_batch_fast(list(texts[start : start + _AT_ONCE]))]
                ids.append(np.fromiter(itertools.chain.from_iterable(encoded), np.int32))
                lengths.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        return np.concatenate(ids), np.concatenate(lengths).cumsum()

    def files(self) -> dict[str, str]:
        """The files that `AutoTokenizer.from_pretrained` and older readers expect in a directory: name to text."""
        model = json.loads(self._json)["model"]
        files = {_TOKENIZER: self._json, _CONFIG: _text(self._config), _SPECIAL_MAP: _text(self._special())}
        if model["type"] == "WordPiece":
            files["vocab.txt"] = "".join(f"{token}\n" for token in sorted(model["vocab"], key=model["vocab"].get))
        elif model["type"] == "BPE":
            merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])
            files["vocab.json"] = json.dumps(model["vocab"], ensure_ascii=False) + "\n"
            files["merges.txt"] = "".join(f"{line}\n" for line in ("#version: 0.2", *merges))
        return files

    def _special(self) -> dict[str, Any]:
        return {name: self._config[name] for name in _SPECIAL if self._config.get(name) is not None}


def too_long(max_tokens: int, longest: int) -> ConfigError:
    """The error for texts that may have more tokens than a model takes."""
    why = f"is more than the {longest} tokens that the model takes"
    remedy = f"Set data.max_tokens to {longest} or less, or choose another model."
    return ConfigError.of("data.max_tokens", max_tokens, why, remedy)


def tokenizer_from_files(files: Mapping[str, str]) -> Tokenizer:
    """The tokenizer with these `files()`, name to text; further files are ignored.

    Raises:
        CheckpointError: a file is missing or damaged.
        ConfigError: tokenizers is not installed.
    """
    remedy = "Use the tokenizer's files saved with it."
    if missing := [name for name in (_TOKENIZER, _CONFIG) if name not in files]:
        what = f"The checkpoint lacks {' and '.join(missing)}."
        raise CheckpointError(what, remedy, value=missing, place=missing[0])
    tokenizers()
    try:
        return Tokenizer(files[_TOKENIZER], json.loads(files[_CONFIG]))
    except ConfigError:
        raise
    except Exception as error:  # of the library's Rust half, which raises nothing narrower
        what = f"The checkpoint's tokenizer cannot be read: {error}."
        raise CheckpointError(what, remedy, place=_TOKENIZER) from error


def load_tokenizer(source: str) -> Tokenizer:
    """The published tokenizer of the directory or hub repository `source`.

    If it has no padding token, that of the model's config is used.

    Raises:
        ConfigError: there is none, it has no padding token, or it is implemented in Python only.
    """
    what, from_pretrained = "tokenizer", transformers().AutoTokenizer.from_pretrained
    theirs = load_from(source, what, lambda local: from_pretrained(source, local_files_only=local))
    if not hasattr(theirs, "backend_tokenizer") or set(theirs.get_vocab()) <= set(theirs.all_special_tokens):
        # without a file, transformers returns a tokenizer that has only its special tokens
        problem = f"{source!r} has no tokenizer that the library tokenizers can run"
        remedy = "Add its tokenizer.json, or choose another model.path."
        raise ConfigError([problem], remedy, keys=["model.path"], value=source)
    if theirs.pad_token is None:
        pad_id = getattr(load_config(source, what), "pad_token_id", None)
        if isinstance(pad_id, int) and 0 <= pad_id < len(theirs):
            theirs.pad_token = theirs.convert_ids_to_tokens(pad_id)
    theirs.backend_tokenizer.no_padding()
    theirs.backend_tokenizer.no_truncation()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        written = {name: (Path(folder) / name).read_text(encoding="utf-8") for name in (_TOKENIZER, _CONFIG)}
    config = {key: value for key, value in json.loads(written[_CONFIG]).items() if key not in _PASSING}
    if config["tokenizer_class"] == "TokenizersBackend":  # transformers 4 has only the older name
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    try:
        return Tokenizer(written[_TOKENIZER], config)
    except ConfigError as error:
        problems = [f"{source}: {problem}" for problem in error.problems]
        raise ConfigError(problems, error.remedy, keys=error.keys, value=source) from error


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """A WordPiece tokenizer like BERT's, lower-cased, with up to `vocabulary` tokens; equal texts give equal bytes.

    The library's trainer numbers characters in the order of a hash map, and breaks ties by those numbers. To make it
    deterministic, every character gets its two ids, for the start and the inside of a word, in advance.

    Raises:
        ConfigError: a vocabulary that is too small, or tokenizers is not installed.
        DataError: the texts are empty, or one cannot be encoded as UTF-8.
    """
    if vocabulary < _FEWEST:
        raise ConfigError.of("model.vocabulary", vocabulary, "is too small", f"Use {_FEWEST} or more.")
    library = tokenizers()
    normalizer = library.normalizers.BertNormalizer(lowercase=True)
    counts: Counter[str] = Counter()
    _check_unicode(texts)
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    most = min(_MOST_CHARACTERS, (vocabulary - len(_MADE_SPECIAL)) // 3)
    found = sorted((char for char in counts if not char.isspace()), key=lambda char: (-counts[char], char))
    characters = sorted(found[:most])
    if not characters:
        what = "The training texts are empty, so no tokenizer can be trained on them."
        raise DataError(what, "Check the text column of the data.", value=len(texts), place="train")
    trained = library.Tokenizer(library.models.WordPiece(unk_token="[UNK]"))
    trained.normalizer, trained.pre_tokenizer = normalizer, library.pre_tokenizers.BertPreTokenizer()
    trainer = library.trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        show_progress=False,
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        special_tokens=[*_MADE_SPECIAL, *characters, *(f"##{char}" for char in characters)],
    )
    with _serial():
        trained.train_from_iterator(texts, trainer)
    made = library.Tokenizer(library.models.WordPiece(trained.get_vocab(), unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = trained.normalizer, trained.pre_tokenizer
    made.decoder = library.decoders.WordPiece()
    made.post_processor = library.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, made.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    made.add_special_tokens(list(_MADE_SPECIAL))
    config = {
        **{f"{token.strip('[]').lower()}_token": token for token in _MADE_SPECIAL},
        "do_lower_case": True,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer",
        "model_input_names": ["input_ids", "attention_mask"],  # the inputs of every encoder
    }
    return Tokenizer(made.to_str(), config)


@contextlib.contextmanager
def _serial() -> Iterator[None]:
    """Keeps tokenizers from starting threads, unless the user's environment enables them.

    After they have started, forking loader workers causes a warning and is slower.
    """
    if "TOKENIZERS_PARALLELISM" in os.environ:
        yield
        return
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        os.environ.pop("TOKENIZERS_PARALLELISM", None)


def _check_unicode(texts: Sequence[str]) -> None:
    """Raises DataError for the first text that is not valid Unicode: half of a pair of surrogates."""
    for index, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            found, place = text[error.start], f"texts[{index}]"
            what = f"Text {index} has an unpaired surrogate at position {error.start}: {found!r}."
            remedy = "Fix or remove it; it cannot be encoded as UTF-8."
            raise DataError(what, remedy, value=found, place=place) from error


def _content(token: str | Mapping[str, Any]) -> str:
    return token if isinstance(token, str) else str(token["content"])


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
