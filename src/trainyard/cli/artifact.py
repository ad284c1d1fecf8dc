"""`trainyard artifact`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainyard.cli import options
from trainyard.cli.options import counted, echo_json
from trainyard.runs import Yard
from trainyard.units import human_size

if TYPE_CHECKING:
    from trainyard.artifacts import Artifacts, Lineage, Version

_NAMED = 30  # how many files to list without --files

reference_argument = click.argument("reference", metavar="ARTIFACT")


@click.group("artifact")
def command() -> None:
    """List, get, alias and remove versions of files; show their lineage.

    ARTIFACT is a name, name:v3, name:best or project/name:v3; without a version it is the latest.
    Each command accepts --yard DIR.

    \b
    trainyard artifact list
    trainyard artifact get model-cnn:best --to model/
    trainyard artifact lineage goemotions/model-minilm:v2
    """


def _store(yard_root: Path) -> Artifacts:
    from trainyard.artifacts import Artifacts

    return Artifacts(Yard(yard_root))


@command.command("list")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--project", metavar="P", help="Only artifacts of this project.")
@click.option("--type", "type_", metavar="T", help="Only artifacts of this type: model, dataset …")
@options.yard_option
@options.json_option
def list_(name: str | None, project: str | None, type_: str | None, yard_root: Path, as_json: bool) -> None:
    """List artifacts; with NAME, the versions of one.

    NAME may include its project: project/name.
    """
    from trainyard.artifacts import Version, parse

    store = _store(yard_root)
    if name is not None:
        wanted = parse(name)
        if wanted.project and project and wanted.project != project:
            raise click.UsageError(f"{name!r} and --project {project} name different projects.")
        name, project = wanted.name, wanted.project or project
        store.find(f"{project}/{name}" if project else name)  # raises a helpful error if there is none
    found: list[Version] = []
    for one in store.versions(name, project=project):
        if isinstance(one, Version):
            found += [one] if type_ in (None, one.type) else []
        else:
            click.echo(f"skipped: {one.reference}: {one.error.what}", err=True)
    if as_json:
        echo_json([version.to_dict() for version in found])
    elif not found:
        empty = "There are no artifacts yet; run.log_artifact(…) creates one."
        click.echo("No artifact matches." if type_ or project else empty)
    elif name is not None:
        header = ("version", "type", "aliases", "files", "size", "made by", "created")
        options.print_table(header, [_version_cells(version) for version in reversed(found)])
    else:
        header = ("artifact", "type", "versions", "latest", "aliases", "size", "created")
        options.print_table(header, list(_artifact_rows(found)))


def _version_cells(version: Version) -> tuple[str, ...]:
    aliases, files = ", ".join(version.aliases) or "-", str(len(version.files))
    made = (human_size(version.size), version.made_by or "-", version.created)
    return (version.reference, version.type, aliases, files, *made)


def _artifact_rows(versions: Sequence[Version]) -> Iterator[tuple[str, ...]]:
    """One row per artifact, with the facts of its latest version."""
    by_name: dict[str, list[Version]] = {}
    for version in versions:
        by_name.setdefault(f"{version.project}/{version.name}", []).append(version)
    for name, several in by_name.items():
        latest = next((version for version in several if "latest" in version.aliases), several[-1])
        aliases = ", ".join(f"{alias} {v.label}" for v in several for alias in v.aliases if alias != "latest") or "-"
        yield name, latest.type, str(len(several)), latest.label, aliases, human_size(latest.size), latest.created


@command.command("show")
@reference_argument
@click.option("--files", "all_files", is_flag=True, help=f"List all files, not only {_NAMED}.")
@options.yard_option
@options.json_option
def show(reference: str, all_files: bool, yard_root: Path, as_json: bool) -> None:
    """Show everything about a version."""
    store = _store(yard_root)
    version = store.find(reference)
    if as_json:
        echo_json({**version.to_dict(), "path": str(store.path(version))})
        return
    click.echo(click.style(version.reference, bold=True) + f"  {version.type}  {', '.join(version.aliases)}".rstrip())
    fields = [
        ("made by", version.made_by or ""),
        ("from", ", ".join(version.inputs)),
        ("created", version.created),
        ("digest", version.digest),
        ("size", f"{counted(len(version.files), 'file')}, {human_size(version.size)}"),
        *((f"  {key}", str(value)) for key, value in version.metadata.items()),
    ]
    options.print_fields(fields)
    click.echo(click.style("Files", bold=True))
    shown = list(version.files.items())[: None if all_files else _NAMED]
    width = max(len(path) for path, _ in shown)
    for path, entry in shown:
        click.echo(f"  {path:<{width}}  {entry.sha256[:12]}  {human_size(entry.size)}")
    if len(version.files) > len(shown):
        click.echo(f"  and {len(version.files) - len(shown)} more (--files)")


@command.command("get")
@reference_argument
@click.option("--to", "root", metavar="DIR", type=click.Path(path_type=Path), help="By default artifacts/NAME-vN.")
@click.option("--replace", is_flag=True, help="Replace existing files that differ.")
@options.yard_option
@options.json_option
def get(reference: str, root: Path | None, replace: bool, yard_root: Path, as_json: bool) -> None:
    """Copy a version's files into a directory and verify every byte.

    Correct files that exist already are kept, so an interrupted copy continues; files that differ are
    an error unless --replace is given.
    """
    from trainyard.api import Api

    version = Api(yard_root).artifact(_store(yard_root).find(reference).reference)  # as the other commands read it
    files = [file.name for file in version.files()]
    place = version.download(root, replace=replace)
    if as_json:
        echo_json({"artifact": version.path, "path": str(place.absolute()), "files": files})
    else:
        click.echo(f"{version.path}: {counted(len(files), 'file')}, {human_size(version.size)} in {place}")


@command.command("alias")
@reference_argument
@click.argument("names", nargs=-1, required=True, metavar="ALIAS...")
@click.option("--remove", is_flag=True, help="Remove the aliases from the version instead.")
@options.yard_option
@options.json_option
def alias(reference: str, names: tuple[str, ...], remove: bool, yard_root: Path, as_json: bool) -> None:
    """Add aliases to a version, or remove them.

    An alias of another version moves to this one. `latest` is moved automatically.
    """
    store = _store(yard_root)
    version = store.alias(store.find(reference), **{"remove" if remove else "add": names})
    if as_json:
        echo_json(version.to_dict())
    else:
        click.echo(f"{version.reference}: {', '.join(version.aliases) or 'no alias'}")


@command.command("lineage")
@reference_argument
@options.yard_option
@options.json_option
def lineage(reference: str, yard_root: Path, as_json: bool) -> None:
    """Show what a version was made from and what was made from it."""
    from trainyard.artifacts import trace
    from trainyard.running.artifacts import run_titles

    store = _store(yard_root)
    found = trace(store, store.find(reference))
    if as_json:
        echo_json(found.to_dict())
        return
    titles = run_titles(store.yard)
    click.echo("\n".join([*_up(found, titles, ""), *_down(found, titles, "")]))


def _heading(one: Lineage) -> str:
    if one.version is None:
        return f"{one.reference}  (no longer there)"
    return f"{click.style(one.reference, bold=True)}  {one.version.type}"


def _run(run: str, titles: Mapping[str, str]) -> str:
    return f"{titles[run]} ({run})" if run in titles else f"{run} (no longer there)"


def _up(one: Lineage, titles: Mapping[str, str], indent: str) -> Iterator[str]:
    yield f"{indent}{_heading(one)}"
    if one.made_by:
        yield f"{indent}  made by {', '.join(_run(run, titles) for run in one.made_by)}"
    if one.inputs:
        yield f"{indent}  from"
        for above in one.inputs:
            yield from _up(above, titles, f"{indent}    ")


def _down(one: Lineage, titles: Mapping[str, str], indent: str) -> Iterator[str]:
    for use in one.used_by:
        yield f"{indent}  used by {_run(use.run, titles)}{', which made' if use.made else ''}"
        for below in use.made:
            yield f"{indent}    {_heading(below)}"
            yield from _down(below, titles, f"{indent}    ")


@command.command("rm")
@click.argument("references", nargs=-1, required=True, metavar="ARTIFACT:VERSION...")
@click.option("--force", is_flag=True, help="Remove also versions that a run has used or that have an alias.")
@options.yes_option
@options.dry_run_option
@options.yard_option
@options.json_option
def rm(references: tuple[str, ...], force: bool, yes: bool, dry_run: bool, yard_root: Path, as_json: bool) -> None:
    """Remove versions. Can be undone.

    They stay in the trash until `trainyard clean --trash`; until then `trainyard undo` restores them. A
    version in use is kept unless --force is given.
    """
    from trainyard.running.artifacts import plan_removal, remove

    yard = Yard(yard_root)
    plan = plan_removal(yard, references, force=force)
    versions = [str(item.data["artifact"]) for item in plan.items]
    options.carry_out(plan, partial(remove, yard, versions, force=force), yes=yes, dry_run=dry_run, as_json=as_json)
