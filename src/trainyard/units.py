"""Sizes as people read them, printed the same way everywhere."""

from __future__ import annotations


def human_size(size_bytes: float) -> str:
    """Bytes in powers of 1000, as disk makers count: 1536 is "1.5 kB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size_bytes) < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"
