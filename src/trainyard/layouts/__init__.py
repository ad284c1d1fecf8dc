"""Where records are stored: tables from record kinds to paths, used to write paths and to read them.

Five layouts ship as YAML beside this file; users add their own. `load_layout` returns a `Layout`,
whose `path` writes and `match` reads. The only disk access here is reading a table.
"""

from __future__ import annotations

from trainyard.layouts.engine import Layout
from trainyard.layouts.load import LAYOUTS, load_layout
from trainyard.layouts.template import Match

__all__ = ["LAYOUTS", "Layout", "Match", "load_layout"]
