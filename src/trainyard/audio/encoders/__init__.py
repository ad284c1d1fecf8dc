"""Speech encoders of transformers, methods to fine-tune them, and a head on the weighted sum of their layers.

Importing this loads neither transformers nor peft; building an encoder does. Knows no runs, datasets or training.
"""

from trainyard.audio.encoders.build import build, describe, rebuild
from trainyard.audio.encoders.classifier import EncoderClassifier
from trainyard.audio.encoders.pretrained import whisper_mels, whisper_positions

__all__ = ["EncoderClassifier", "build", "describe", "rebuild", "whisper_mels", "whisper_positions"]
