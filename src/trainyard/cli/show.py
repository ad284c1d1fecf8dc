"""`trainyard show`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trainyard.cli.options import counted, echo_json, find_run, json_option, print_fields, run_argument, yard_option
from trainyard.runs import RunReader, Snapshot
from trainyard.units import human_size


@click.command("show")
@run_argument
@yard_option
@click.option("--files", "only_files", is_flag=True, help="Print only the paths of files and checkpoints, one a line.")
@json_option
def command(run: str, yard_root: Path, only_files: bool, as_json: bool) -> None:
    """Show everything about a run.

    RUN is a name, an id, a path, or `last`.
    """
    reader = find_run(yard_root, run)
    if only_files:  # the recorded files, then the checkpoints at each of their paths
        named = (reader.resolve(path) for c in reader.snapshot.checkpoints for path in c.paths.values())
        paths = [str(path) for path in (*reader.files().values(), *(path for path in named if path.exists()))]
        if as_json:
            echo_json(paths)
        for path in paths if not as_json else ():
            click.echo(path)
    elif as_json:
        echo_json({**reader.snapshot.to_dict(), "path": str(reader.home)})
    else:
        _print(reader)


def _hanging(text: str) -> str:
    """Indents further lines to the column of the first one."""
    return text.replace("\n", "\n" + " " * 12)


def _print(reader: RunReader) -> None:
    run = reader.snapshot
    click.echo(click.style(f"{run.project}/{run.dataset}/{run.name}", bold=True) + f"  {run.id}  {run.state}")
    fields = [
        ("home", str(reader.home)),
        ("layout", run.layout),
        ("model", run.model),
        ("created", run.created),
        ("trained", _trained(run)),
        ("data", _data(run.data)),
        *(("cache" if not number else " ", text) for number, text in enumerate(_cache(run.data))),
        ("tags", ", ".join(run.tags)),
        ("note", run.note),
        ("error", _hanging(run.error or "")),
        ("from", ", ".join(f"{p['role']} {p['run']} step {p['step']}" for p in run.parents)),
    ]
    print_fields(fields)
    for warning in run.warnings:
        click.echo(f"  {click.style('warning', fg='yellow'):<9}   {_hanging(warning)}")
    _section("Summary", [(key, f"{v:.6g}" if isinstance(v, float) else str(v)) for key, v in run.summary.items()])
    if not run.summary:
        _section("Latest metrics", [(key, f"{value:.6g}") for key, value in run.metrics.items()])
    best = run.best.step if run.best else None
    checkpoints = []
    for c in run.checkpoints:
        marks = ("  best" if c.step == best else "") + ("" if c.resumable else "  not resumable")
        text = f"epoch {c.epoch:g}  {human_size(c.size)}  {', '.join(c.paths.values())}{marks}"
        checkpoints.append((f"step {c.step}", text))
    _section("Checkpoints", checkpoints)
    _section("Artifacts", [(made["role"], f"{made['artifact']}  {made['type']}") for made in run.artifacts])
    _section("Files", [(record.kind, f"{record.path}  {human_size(record.size)}") for record in run.records])


def _trained(run: Snapshot) -> str:
    counts = ((run.epoch, "epoch"), (run.step, "step"), (len(run.attempts), "attempt"))
    return ", ".join([*(counted(count, noun) for count, noun in counts), f"seed {run.seed}"])


def _data(data: dict[str, Any]) -> str:
    """The items, splits and fingerprint, if the run recorded them."""
    if not data:
        return ""
    splits = ", ".join(f"{count} {split}" for split, count in data["splits"].items())
    classes = f", {len(data['classes'])} classes" if data["classes"] else ""
    return f"{data['items']} items ({splits}){classes}, fingerprint {data['digest'][:12]}"


def _cache(data: dict[str, Any]) -> list[str]:
    """The use of the caches of decoded audio and features, one line each."""
    lines = []
    for name, found in data.get("cache", {}).items():
        state = "; full, so the rest is computed each time" if found["full"] else ""
        state += f"; writing stopped: {found['failed']}" if found["failed"] else ""
        lines.append(
            f"{name}: {counted(found['entries'], 'entry', 'entries')}, {human_size(found['size_bytes'])} of at most "
            f"{human_size(found['limit_bytes'])}, {found['hits']} read, {found['misses']} computed{state}"
        )
    return lines


def _section(title: str, rows: list[tuple[str, str]]) -> None:
    if not rows:
        return
    click.echo(click.style(title, bold=True))
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        click.echo(f"  {label:<{width}}  {value}")
