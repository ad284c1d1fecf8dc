"""Speech encoders of transformers, ways to fine-tune them, and a head on the weighted sum of their layers.

Importing this loads neither transformers nor peft; building an encoder does. Nothing here knows of runs,
files of records, datasets or training.
"""

from trainyard.models.encoders.build import build_encoder, encoder_config, from_encoder_config
from trainyard.models.encoders.classifier import EncoderClassifier
from trainyard.models.encoders.pretrained import whisper_mels, whisper_positions

__all__ = [
    "EncoderClassifier",
    "build_encoder",
    "encoder_config",
    "from_encoder_config",
    "whisper_mels",
    "whisper_positions",
]
