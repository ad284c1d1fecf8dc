"""Every error that Trainyard raises on purpose, with its exit code and its remedy.

An error says what happened, which value, where, and what to do. `UserError` and its subclasses are for
the user to fix (exit code 2, no traceback); everything else is a failed run (exit code 1).
Programs and tests read the class and the fields; the prose is for people and may change.
This module imports nothing of Trainyard.
"""

from __future__ import annotations

import os
from collections.abc import Sequence


class TrainyardError(Exception):
    """A failure that Trainyard foresaw.

    Args:
        what: one or more sentences: what happened, to which value, where.
        remedy: what the reader can do about it, as an instruction. May be empty.
        value: the value that was refused, as it was given.
        place: where it is: a path, `file:row`, a setting's dotted key, the name of a run.
    """

    exit_code = 1

    def __init__(
        self, what: str, remedy: str = "", *, value: object = None, place: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__(what, remedy)
        self.what, self.remedy, self.value = what, remedy, value
        self.place = None if place is None else os.fspath(place)

    def __str__(self) -> str:
        return f"{self.what}\n  {self.remedy}" if self.remedy else self.what


class UserError(TrainyardError):
    """Something the user asked for that cannot be done as asked."""

    exit_code = 2


class ConfigError(UserError):
    """One or more faults in a configuration, all reported together.

    Args:
        problems: one line each: key, value, file, and the nearest valid choice.
        keys: the dotted keys that the problems are about.
        value: the value that was refused, where there is one problem.
    """

    def __init__(
        self, problems: Sequence[str], remedy: str = "", *, keys: Sequence[str] = (), value: object = None
    ) -> None:
        self.problems, self.keys = tuple(problems), tuple(keys)
        if len(self.problems) == 1:
            what = f"The configuration has a problem: {self.problems[0]}"
        else:
            lines = "".join(f"\n  - {problem}" for problem in self.problems)
            what = f"The configuration has {len(self.problems)} problems:{lines}"
        super().__init__(what, remedy, value=value, place=self.keys[0] if self.keys else None)

    @classmethod
    def of(cls, key: str, value: object, why: str, remedy: str = "") -> ConfigError:
        """The error of a single setting: "`key`=`value` `why`"."""
        return cls([f"{key}={value} {why}"], remedy, keys=[key], value=value)


class UnsafeTargetError(UserError):
    """A `_target_` outside the allow-list of packages."""


class DataError(UserError):
    """Data that cannot be trained on: a missing or unreadable file, an empty class, a bad label."""


class ChangedDataError(DataError):
    """A resume whose data is no longer the data the run began with."""


class LeakError(DataError):
    """The same item or group in more than one split."""


class NameTakenError(UserError):
    """An explicit run name that another run has."""


class BadNameError(UserError):
    """A name that cannot be part of a path."""


class LayoutError(UserError):
    """A layout that is unknown, malformed, or cannot express a path."""


class YardError(UserError):
    """A yard that is missing, not a directory, or not writable."""


class RunNotFoundError(UserError):
    """A reference that matches no run, or more than one."""


class RunBusyError(UserError):
    """A run that another live process is working on."""


class QueryError(UserError):
    """A filter expression that cannot be read."""


class DivergedError(UserError):
    """The loss became NaN or infinite; names the step and the items of the batch."""


class CorruptError(TrainyardError):
    """A file of record whose bytes are not what was written."""


class CheckpointError(TrainyardError):
    """A checkpoint that is missing, incomplete or unreadable."""


class UnknownCheckpointError(CheckpointError):
    """A checkpoint that was asked for and that the run does not have."""

    exit_code = 2


class NotResumableError(UserError):
    """A run with nothing left to resume, or whose checkpoint no longer holds optimizer state."""


class DiskFullError(TrainyardError):
    """No room for what was about to be written; whatever was there before is intact."""


class Interrupted(TrainyardError):  # noqa: N818  (an order to stop, not a fault)
    """SIGINT or SIGTERM asked the run to stop; it stopped after a whole step."""

    exit_code = 130
