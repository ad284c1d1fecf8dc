"""Reading a yard: find runs and artifacts, read their files, download them safely.

Everything except `DirectoryTransport` knows only a `Transport`, so that a server can replace the directory.
"""

from trainyard.api.artifacts import Artifact
from trainyard.api.checkpoints import Checkpoint
from trainyard.api.client import Api, Runs, open_yard
from trainyard.api.directory import DirectoryTransport
from trainyard.api.files import File
from trainyard.api.runs import Run
from trainyard.api.transport import Transport

__all__ = ["Api", "Artifact", "Checkpoint", "DirectoryTransport", "File", "Run", "Runs", "Transport", "open_yard"]
