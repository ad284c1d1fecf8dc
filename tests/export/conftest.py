from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "models/encoders"))  # for tiny_encoders
sys.path.insert(0, str(Path(__file__).parents[1] / "models/texts"))  # for tiny_texts
