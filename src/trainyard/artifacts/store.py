"""The artifacts of a yard: logging, finding and verifying versions, and their aliases. `api` downloads them.

A version appears by one rename of a staged directory, under a number that no other ever had, and never
changes; its files are hard links to the yard's objects. A call that returned survives a kill or power cut; an
interrupted one leaves the complete version or nothing. Deletes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
        """A new version of `name` with `files`, or the existing version with the same content.

        `latest` and `aliases` then point at it. Files are linked, not copied: they take no extra disk space,
        but a file that is *written in place* later (appended to, edited) changes in the version, too. Reading or
        verifying the version detects that, but the bytes are lost: pass `copy=True` for such files, for example
        `torch.save` to the same name each epoch. Replacing a file, as editors do, and new names are safe. A file
        that was written in place is copied when it is logged again, and a warning names the damage.

        Args:
            name: the artifact's name.
            files: a file, a folder, or a mapping of names in the artifact to files and folders.
            type: model, dataset …; the same in all versions.
            metadata: a description, ready for JSON; stored if a new version is created.
            project: its project; None: the run's.
            run: the open run that logs it, whose journal records it, too.
            aliases: names that point at this version from now on.
            copy: copy the files instead of linking them.
            md5: the files of the returned version have MD5 digests as well.

        Raises:
            BadNameError: an invalid name, alias or path in the artifact.
            UserError: a file is missing or changed meanwhile, the type differs from earlier versions, or the
                metadata cannot be encoded as JSON.
            DiskFullError: no space for copies; nothing partial is left.
        """
        series = self._series(project or (run.snapshot.project if run else "default"), name)
        type = names.check_name(type, "artifact type")
        given = [aliases] if isinstance(aliases, str) else aliases  # a single name, not a list of letters
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
            _refuse_other_type(next(_intact(series), None), type)
            version = next((one for one in _intact(series) if one.digest == digest), None)
            if version is None:
                number, made_by = series.next_number(), run.id if run else None
                linked = run.snapshot.artifacts if run else []
                inputs = tuple(one["artifact"] for one in linked if one["role"] == "used")
                made = (made_by, utc_now(), inputs, metadata, entries)
                draft = Version(series.project, series.name, number, type, digest, *made)
                version = commit(self.yard.objects, series, draft, sources, known, copied=copy)
            else:
                repair(series, version, sources, known, copied=copy)
            if run is not None:
                series.note(version.number, "logged", run.id)
            series.set_aliases(dict.fromkeys([LATEST, *aliases], version.number))
            version = replace(series.read(version.number), files=entries)
        known.save([*sources.values(), *(self.path(version, path) for path in entries)])
        if run is not None:
            _record(run, "logged", version)
        return version

    def _is_written_into(
        self, sources: Mapping[str, Path], entries: Mapping[str, FileEntry], known: Digests, run: RunWriter | None
    ) -> bool:
        """Whether a source was written in place: its bytes differ from before. Warns of damaged versions."""
        kept = {path: known.last_sha256(source) for path, source in sources.items()}
        others = {sources[path]: sha256 for path, sha256 in kept.items() if sha256 not in (None, entries[path].sha256)}
        blobs = {source: self.yard.objects.path(str(sha256)) for source, sha256 in others.items()}
        spoilt = [str(source) for source, blob in blobs.items() if blob.exists() and blob.samefile(source)]
        if spoilt:
            text = (
                f"{', '.join(spoilt)} was written in place after it was logged as an artifact, whose bytes are lost "
                "(`trainyard verify` names the version). It is copied from now on; log such files with copy=True."
            )
            if run is not None:
                run.warn(text)
            warnings.warn(text, stacklevel=5)  # points at the line in the user's script
        return bool(others)

    # -- finding

    def find(self, reference: str, *, project: str | None = None) -> Version:
        """The version that `name`, `name:best`, `name:v3` or `project/name:v3` means.

        Without a version it is the latest; without a project, `project` is tried first.

        Raises:
            UserError: there is no such version, or several projects have the name; lists them.
            BadNameError: the reference is not valid.
            CorruptError: its manifest is damaged.
        """
        wanted = names.parse(reference)
        series = self._find_series(wanted, project)
        aliases = series.aliases()
        number = wanted.number if wanted.number is not None else aliases.get(wanted.version)
        if number is None or number not in series.numbers():
            known = ", ".join([*(f"v{number}" for number in series.numbers()[-10:]), *aliases])
            what = f"{series.title} has no version or alias {wanted.version!r}."
            raise UserError(what, f"It has: {known}.", value=wanted.version, place=series.title)
        return series.read(number)

    def _find_series(self, wanted: Reference, project: str | None) -> Series:
        if wanted.project is None and project is not None and (series := self._series(project, wanted.name)).numbers():
            return series
        known = self.all_series()
        found = [one for one in known if one.name == wanted.name and wanted.project in (None, one.project)]
        if len(found) == 1:
            return found[0]
        name = f"{wanted.project}/{wanted.name}" if wanted.project else wanted.name
        if found:
            what = f"{name!r} is an artifact of several projects: {', '.join(series.title for series in found)}."
            remedy = "Write it as project/name."
        elif known:
            what = f"There is no artifact {name!r} in the yard {self.yard.root}."
            choices = [series.title if wanted.project else series.name for series in known]
            remedy = did_you_mean(name, choices, limit=3, then="`trainyard artifact list` lists all artifacts.")
        else:
            what = f"There is no artifact {name!r}: the yard {self.yard.root} has no artifacts."
            remedy = "A run creates one with run.log_artifact(…), or when it is trained with outputs.artifacts=true."
        raise UserError(what, remedy, value=name, place=self.yard.root)

    def all_series(self) -> list[Series]:
        """The artifacts that have versions, by project and name."""
        root = self.root
        found = [Series(root, project, name) for project in _folders(root) for name in _folders(root / project)]
        return [series for series in found if series.numbers()]

    def versions(self, name: str | None = None, *, project: str | None = None) -> Iterator[Version | Unreadable]:
        """Every version of the yard, by project, name and number; of one name or project only, if given."""
        for series in self.all_series():
            if name in (None, series.name) and project in (None, series.project):
                aliases: dict[str, int] = {}
                try:
                    aliases = series.aliases()
                except CorruptError as error:
                    yield Unreadable(series.title, error)
                for number in series.numbers():
                    try:
                        yield series.read(number, aliases)
                    except CorruptError as error:
                        yield Unreadable(f"{series.title}:v{number}", error)

    def series(self, version: Version) -> Series:
        """The folder of a version's artifact."""
        return Series(self.root, version.project, version.name)

    def notes(self, version: Version, role: Role) -> list[dict[str, Any]]:
        """The runs that logged or used a version, as in `Series.notes`."""
        return [note for note in self.series(version).notes(version.number) if note["role"] == role]

    def _series(self, project: str, name: str) -> Series:
        return Series(self.root, names.check_project(project), names.check_name(name))

    # -- a version

    def path(self, version: Version, file: str = "") -> Path:
        """The path of a file of a version, or of their directory. Do not write there."""
        return self.series(version).files(version.number) / file

    def faults(self, version: Version) -> list[str]:
        """The faults in a version's files, a phrase for each; reads every byte."""
        found = []
        for path, entry in version.files.items():
            stored = self.path(version, path)
            if not stored.is_file():
                found.append(f"{stored} is missing")
            elif stored.stat().st_size != entry.size or durable.sha256_file(stored) != entry.sha256:
                found.append(f"{stored} differs from what was logged (SHA-256)")
        return found

    def use(self, reference: str, run: RunWriter) -> Version:
        """The version that a reference names (see `find`), recorded in its lineage and the run's journal as used."""
        version = self.find(reference, project=run.snapshot.project)
        series = self.series(version)
        with series.locked():
            version = self.find(version.reference)  # it may have been removed meanwhile
            series.note(version.number, "used", run.id)  # before the journal: a used version must not be removed
        _record(run, "used", version)
        return version

    def alias(self, version: Version, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> Version:
        """The version with added and removed aliases; an alias of another version moves here.

        Raises:
            UserError: `latest`, which cannot be set, an invalid alias, or one to remove that it does not have.
        """
        if LATEST in (*add, *remove):
            what = "The alias latest cannot be set: it is always the version that was logged last."
            raise UserError(what, "Use another alias.", value=LATEST, place=version.reference)
        added = [names.check_alias(alias) for alias in add]
        series = self.series(version)
        with series.locked():
            version = self.find(version.reference)
            foreign = next((alias for alias in remove if alias not in version.aliases), None)
            if foreign is not None:
                has = ", ".join(alias for alias in version.aliases if alias != LATEST) or "none"
                what = f"{version.reference} has no alias {foreign!r}."
                raise UserError(what, f"It has: {has}.", value=foreign, place=version.reference)
            series.set_aliases(dict.fromkeys(added, version.number), remove)
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
        what = f"The metadata of an artifact cannot be encoded as JSON: {error}."
        raise UserError(what, "Use text, numbers, lists and dictionaries.", value=metadata) from None
    return plain


def _intact(series: Series) -> Iterator[Version]:
    """The versions with intact manifests, newest first, without aliases; `verify` reports the others."""
    for number in reversed(series.numbers()):
        with contextlib.suppress(CorruptError):
            yield series.read(number, aliases={})


def _refuse_other_type(newest: Version | None, type: str) -> None:
    if newest is not None and newest.type != type:
        what = f"{newest.reference} is of type {newest.type!r}, so {newest.name!r} cannot be of type {type!r}."
        remedy = f"Use type={newest.type!r}, or choose another name."
        raise UserError(what, remedy, value=type, place=newest.reference)


def _record(run: RunWriter, role: Role, version: Version) -> None:
    """Records once in the run's journal that it logged or used a version."""
    link = {"role": role, "artifact": version.reference, "type": version.type}
    if link not in run.snapshot.artifacts:
        run.event(ArtifactLinked(**link))
