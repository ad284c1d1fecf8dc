"""Text encoders of transformers with a head that classifies, and the tokenizers that go with them.

Importing this loads neither transformers nor tokenizers; building something does. Nothing here knows of runs,
files of records, datasets or training.
"""

from trainyard.models.texts.build import build_text_encoder, from_text_config, text_config
from trainyard.models.texts.classifier import TextClassifier
from trainyard.models.texts.families import text_source
from trainyard.models.texts.tokenizer import Tokenizer, load_tokenizer, tokenizer_from_files, train_tokenizer

__all__ = [
    "TextClassifier",
    "Tokenizer",
    "build_text_encoder",
    "from_text_config",
    "load_tokenizer",
    "text_config",
    "text_source",
    "tokenizer_from_files",
    "train_tokenizer",
]
