"""The artifacts of a yard: logging versions, finding and naming them, and finding damage. `api` downloads them.

A version appears whole by one rename of a staged directory, under a number that no other ever had, and
never changes; its files are hard links to the yard's objects. What returned has happened, kill or power
cut; what did not leaves the version or nothing. Deletes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from trainyard import durable
from trainyard.artifacts import names
from trainyard.artifacts.commit import commit, repair
from trainyard.artifacts.digests import Digests
from trainyard.artifacts.names import LATEST, Reference
from trainyard.artifacts.series import Role, Series
from trainyard.artifacts.sources import Files, list_files
from trainyard.artifacts.versions import FileEntry, Version, content_digest
from trainyard.errors import CorruptError, UserError
from trainyard.runs import RunWriter, Yard
from trainyard.runs.events import ArtifactLinked
from trainyard.runs.identity import utc_now
from trainyard.wording import did_you_mean


@dataclass(frozen=True)
class Unreadable:
    """A version, or the aliases of an artifact, that cannot be read, and why."""

    reference: str
    error: CorruptError


class Artifacts:
    """The artifacts of a yard, in `.yard/artifacts/`. Reading works on read-only, moved and copied yards."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.root = yard.own / "artifacts"

    # -- logging

    def log(
        self,
        name: str,
        files: Files,
        *,
        type: str = "artifact",
        metadata: Mapping[str, Any] | None = None,
        project: str | None = None,
        run: RunWriter | None = None,
        aliases: Sequence[str] = (),
        copy: bool = False,
        md5: bool = False,
    ) -> Version:
        """A new version of `name` that holds `files`; the one that holds the same already, where there is one.

        `latest` and `aliases` point at it afterwards. Files are linked, not copied: they take no further
        disk, and a file that is *written into* later (appended to, edited in place) changes in the version,
        too. That is found out whenever the version is handed out or verified, but the bytes are lost: give
        `copy=True` for such files, `torch.save` to the same name each epoch among them. Replacing a file, as
        editors do, and new names are safe. A file that was written into is copied when it is logged again,
        and a warning names the version it spoilt.

        Args:
            name: the artifact's name.
            files: a file, a folder, or a mapping of names in the artifact to files and folders.
            type: what kind of thing it is: model, dataset …; the same in all versions.
            metadata: a description of it, JSON-able; kept when a new version is made.
            project: whose it is; None: the run's.
            run: the open run that made it, whose journal records it, too.
            aliases: names that are to mean this version from now on.
            copy: copy the files instead of linking them.
            md5: take MD5 digests as well, for records that need them.

        Returns:
            The version; with `md5`, its entries have theirs.

        Raises:
            BadNameError: a name, alias or path in the artifact that cannot be one.
            UserError: a file that is missing or changes meanwhile, another type than before, metadata that
                is not JSON-able.
            DiskFullError: no room for copies; nothing is left half-made.
        """
        series = self._series(project or (run.snapshot.project if run else "default"), name)
        type = names.check_name(type, "artifact type")
        given = [aliases] if isinstance(aliases, str) else aliases  # one name is no list of letters
        aliases = [alias if alias == LATEST else names.check_alias(alias) for alias in given]
        metadata = _plain(metadata)
        sources = list_files(files)
        known = Digests(self.yard, run)
        entries = {path: known.of(source, md5=md5) for path, source in sources.items()}
        digest = content_digest(entries)
        if not copy:
            copy = self._is_written_into(sources, entries, known, run)
        with series.locked():
            durable.sweep(series.folder)
            _refuse_other_type(series, type)
            version = self._same(series, digest)
            if version is None:
                draft = Version(
                    series.project,
                    series.name,
                    series.next_number(),
                    type,
                    digest,
                    metadata,
                    entries,
                    run.id if run else None,
                    utc_now(),
                    inputs=_used_by(run),
                )
                version = commit(self.yard, series, draft, sources, known, copied=copy)
            else:
                repair(series, version, sources, known, copied=copy)
            if run is not None:
                series.note(version.number, "logged", run.id)
            series.set_aliases(version.number, LATEST, *aliases)
            version = replace(series.read(version.number), files=entries)
        known.save([*sources.values(), *(self.path(version, path) for path in entries)])
        if run is not None:
            _tell(run, "logged", version)
        return version

    def _is_written_into(
        self, sources: Mapping[str, Path], entries: Mapping[str, FileEntry], known: Digests, run: RunWriter | None
    ) -> bool:
        """Whether a source is one that is written into: it has other bytes than before. Tells what that spoilt."""
        others = {
            source: before
            for path, source in sources.items()
            if (before := known.last_sha256(source)) not in (None, entries[path].sha256)
        }
        blobs = {source: self.yard.objects.path(str(before)) for source, before in others.items()}
        spoilt = [str(source) for source, blob in blobs.items() if blob.exists() and blob.samefile(source)]
        if spoilt:
            text = (
                f"{', '.join(spoilt)} was written into after it had been logged as an artifact, which lost those bytes "
                "(`trainyard verify` names the version). It is copied from now on; log such files with copy=True."
            )
            if run is not None:
                run.warn(text)
            warnings.warn(text, stacklevel=5)  # whoever wrote the script should not have to look it up
        return bool(others)

    def _same(self, series: Series, digest: str) -> Version | None:
        for number in reversed(series.numbers()):
            with contextlib.suppress(CorruptError):  # `verify` names it; the content is kept anew
                version = series.read(number, aliases={})
                if version.digest == digest:
                    return version
        return None

    # -- finding

    def find(self, reference: str, *, project: str | None = None) -> Version:
        """The version that `name`, `name:best`, `name:v3` or `project/name:v3` means.

        Args:
            reference: which; without a version, the latest.
            project: where to look first when the reference names none, such as the run's own.

        Raises:
            UserError: there is no such version, or several projects have the name; lists them.
            BadNameError: the reference cannot be one.
            CorruptError: its manifest is damaged.
        """
        wanted = names.parse(reference)
        series = self._find_series(wanted, project)
        aliases = series.aliases()
        number = wanted.number if wanted.number is not None else aliases.get(wanted.version)
        if number is None or number not in series.numbers():
            known = [*(f"v{number}" for number in series.numbers()[-10:]), *aliases]
            raise UserError(
                f"{series.project}/{series.name} has no version or alias {wanted.version!r}.",
                f"It has: {', '.join(known)}.",
            )
        return series.read(number)

    def _find_series(self, wanted: Reference, project: str | None) -> Series:
        if wanted.project is None and project is not None and (series := self._series(project, wanted.name)).numbers():
            return series
        found = [
            series
            for series in self.all_series()
            if series.name == wanted.name and wanted.project in (None, series.project)
        ]
        if len(found) > 1:
            raise UserError(
                f"{wanted.name!r} is an artifact of several projects: "
                f"{', '.join(f'{series.project}/{series.name}' for series in found)}.",
                "Write the project before it.",
            )
        return found[0] if found else self._unknown(wanted)

    def _unknown(self, wanted: Reference) -> NoReturn:
        known = [f"{series.project}/{series.name}" for series in self.all_series()]
        name = f"{wanted.project}/{wanted.name}" if wanted.project else wanted.name
        if not known:
            raise UserError(
                f"There is no artifact {name!r}: the yard {self.yard.root} has none.",
                "A run makes one with run.log_artifact(…), or when it is trained with outputs.artifacts=true.",
            )
        choices = known if wanted.project else [one.partition("/")[2] for one in known]
        raise UserError(
            f"There is no artifact {name!r} in the yard {self.yard.root}.",
            did_you_mean(name, choices, limit=3, then="`trainyard artifact list` lists what there is."),
        )

    def all_series(self) -> list[Series]:
        """The artifacts that have a version, by project and name."""
        found = (
            Series(self.root, project, name)
            for project in _folders(self.root)
            for name in _folders(self.root / project)
        )
        return [series for series in found if series.numbers()]

    def versions(self, name: str | None = None, *, project: str | None = None) -> Iterator[Version | Unreadable]:
        """Every version of the yard, by project, name and number; of one name or project only, if given."""
        for series in self.all_series():
            if name in (None, series.name) and project in (None, series.project):
                aliases: dict[str, int] = {}
                try:
                    aliases = series.aliases()
                except CorruptError as error:
                    yield Unreadable(f"{series.project}/{series.name}", error)
                for number in series.numbers():
                    try:
                        yield series.read(number, aliases)
                    except CorruptError as error:
                        yield Unreadable(f"{series.project}/{series.name}:v{number}", error)

    def series(self, version: Version) -> Series:
        """The folder of a version's artifact."""
        return Series(self.root, version.project, version.name)

    def _series(self, project: str, name: str) -> Series:
        return Series(self.root, names.check_project(project), names.check_name(name))

    # -- a version

    def path(self, version: Version, file: str = "") -> Path:
        """Where a file of a version lies, or all of them. Never write there."""
        return self.series(version).files(version.number) / file

    def faults(self, version: Version) -> list[str]:
        """What is wrong with a version's files, a sentence each; reads every byte."""
        found = []
        for path, entry in version.files.items():
            stored = self.path(version, path)
            if not stored.is_file():
                found.append(f"{stored} is missing")
            elif stored.stat().st_size != entry.size or durable.sha256_file(stored) != entry.sha256:
                found.append(f"{stored} has other bytes than were logged (SHA-256 differs)")
        return found

    def use(self, reference: str, run: RunWriter) -> Version:
        """The version that a reference means, with `run` in its lineage and it in the run's journal.

        Raises:
            UserError: there is no such version.
        """
        version = self.find(reference, project=run.snapshot.project)
        series = self.series(version)
        with series.locked():
            version = self.find(version.reference)  # it may have been removed since
            series.note(version.number, "used", run.id)  # before the journal: what is used must not be removed
        _tell(run, "used", version)
        return version

    def alias(self, version: Version, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> Version:
        """The version with more or fewer aliases; one that another version had moves here.

        Raises:
            UserError: `latest`, which moves by itself, or an alias to remove that it does not have.
            BadNameError: a name that cannot be an alias.
        """
        if LATEST in (*add, *remove):
            raise UserError("latest moves by itself: it is the version that was logged last.", "Use another alias.")
        added = [names.check_alias(alias) for alias in add]
        series = self.series(version)
        with series.locked():
            version = self.find(version.reference)
            foreign = [alias for alias in remove if alias not in version.aliases]
            if foreign:
                has = ", ".join(alias for alias in version.aliases if alias != LATEST) or "none"
                raise UserError(f"{version.reference} has no alias {foreign[0]!r}.", f"It has: {has}.")
            series.set_aliases(version.number, *added)
            series.remove_aliases(*remove)
            return series.read(version.number)


def _folders(path: Path) -> list[str]:
    try:
        with os.scandir(path) as found:
            return sorted(e.name for e in found if e.is_dir() and not durable.is_temporary(Path(e.name)))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _plain(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(metadata or {})))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"The metadata of an artifact must be JSON-able: {error}.", "Use text, numbers, lists and tables."
        ) from None
    return plain


def _refuse_other_type(series: Series, type: str) -> None:
    for number in reversed(series.numbers()):
        with contextlib.suppress(CorruptError):
            version = series.read(number)
            if version.type != type:
                raise UserError(
                    f"{version.reference} is of type {version.type!r}, so {series.name!r} cannot be of type {type!r}.",
                    f"Say type={version.type!r}, or choose another name.",
                )
            return


def _used_by(run: RunWriter | None) -> tuple[str, ...]:
    artifacts = run.snapshot.artifacts if run is not None else []
    return tuple(one["artifact"] for one in artifacts if one["role"] == "used")


def _tell(run: RunWriter, role: Role, version: Version) -> None:
    """Keeps in the run's journal what it did with a version, once."""
    told = {"role": role, "artifact": version.reference, "type": version.type}
    if told not in run.snapshot.artifacts:
        run.event(ArtifactLinked(**told))
