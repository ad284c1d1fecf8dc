"""Suppresses warnings and log lines of torch's exporters and torchao that occur on every use and need no action.

Each entry is one message of one library, matched by its beginning; any other message is shown. Knows no models.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

_WARNINGS = (
    # torch's own exporters use what torch deprecates
    (DeprecationWarning, r"`torch\.jit\.script(_method)?` is deprecated"),
    (FutureWarning, r"`isinstance\(treespec, LeafSpec\)` is deprecated"),
    (FutureWarning, r"`torch\.utils\._pytree\.treespec_dumps"),
)
_LOGGED = {
    # operators of a library that no network here uses
    "torch.onnx._internal.exporter._registration": "torchvision is not installed",
    # torchao ships kernels for several GPUs and Pythons, and tries to load them all
    "torchao": "Failed to load ",
    # an optimisation that the exporter skips; the graph has a few more nodes
    "onnxscript.optimizer._constant_folding": "Skipping constant folding for op ",
    # torchao registers its enum with a deprecated call
    "torch.utils._pytree": "<enum 'KernelPreference'>",
}


@contextlib.contextmanager
def without_exporter_noise() -> Iterator[None]:
    """Hides the warnings and log lines listed in this module."""

    def is_unlisted(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_LOGGED[record.name])

    loggers = [logging.getLogger(name) for name in _LOGGED]
    for logger in loggers:
        logger.addFilter(is_unlisted)
    try:
        with warnings.catch_warnings():
            for category, message in _WARNINGS:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_unlisted)
