"""Text encoders of transformers with a classification head, and their tokenizers.

Importing this loads neither transformers nor tokenizers; building something does. Knows no runs, datasets or
training.
"""

from trainyard.text.encoders.build import build, describe, rebuild
from trainyard.text.encoders.classifier import TextClassifier
from trainyard.text.encoders.families import text_source
from trainyard.text.encoders.tokenizer import Tokenizer, load_tokenizer, tokenizer_from_files, train_tokenizer

__all__ = [
    "TextClassifier",
    "Tokenizer",
    "build",
    "describe",
    "load_tokenizer",
    "rebuild",
    "text_source",
    "tokenizer_from_files",
    "train_tokenizer",
]
