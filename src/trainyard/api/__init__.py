"""The API for scripts and notebooks: find runs and artifacts, read what they left, download it safely.

All but `LocalTransport` knows a `Transport` alone, so that a server can take the yard's place.
"""

from trainyard.api.client import Api, ApiRuns
from trainyard.api.files import ApiFile
from trainyard.api.local import LocalTransport
from trainyard.api.runs import ApiArtifact, ApiCheckpoint, ApiRun
from trainyard.api.transport import Transport

__all__ = ["Api", "ApiArtifact", "ApiCheckpoint", "ApiFile", "ApiRun", "ApiRuns", "LocalTransport", "Transport"]
