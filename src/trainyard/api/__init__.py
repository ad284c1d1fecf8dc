"""Reading a yard back: find runs and artifacts, read what they left, download it safely.

Everything but `DirectoryTransport` knows a `Transport` alone, so that a server can take the yard's place.
"""

from trainyard.api.artifacts import Artifact
from trainyard.api.checkpoints import Checkpoint
from trainyard.api.client import Api, Runs, open_yard
from trainyard.api.directory import DirectoryTransport
from trainyard.api.files import File
from trainyard.api.runs import Run
from trainyard.api.transport import Transport

__all__ = ["Api", "Artifact", "Checkpoint", "DirectoryTransport", "File", "Run", "Runs", "Transport", "open_yard"]
