"""Where records lie: tables from record kinds to paths, written and read by one engine.

Five layouts ship as YAML beside this file; users add their own. `load_layout` gives a `Layout`,
whose `path` writes and `match` reads. Nothing here touches the disk but the reading of a table.
"""

from __future__ import annotations

from trainyard.layouts.engine import Layout, Match
from trainyard.layouts.load import LAYOUTS, load_layout

__all__ = ["LAYOUTS", "Layout", "Match", "load_layout"]
