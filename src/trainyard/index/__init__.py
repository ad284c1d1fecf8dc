"""The index: finds runs among many without opening them. Disposable; derived from the runs' own files.

Knows nothing of training, nor of how its answers are shown.
"""

from trainyard.index.store import Index, Page, Row

__all__ = ["Index", "Page", "Row"]
