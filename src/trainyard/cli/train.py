"""`trainyard train`."""

from __future__ import annotations

from pathlib import Path

import click

from trainyard.cli.options import find_run, trust_option, yard_option


@click.command("train", context_settings={"ignore_unknown_options": False})
@click.argument("what", nargs=-1, metavar="[RECIPE|FILE] [KEY=VALUE]...")
@yard_option
@click.option("--like", metavar="RUN", help="Repeat the configuration of another run, with the given changes.")
@trust_option
@click.option("--quiet", is_flag=True, help="Print only errors.")
@click.option("--print-config", is_flag=True, help="Print the resolved configuration and stop.")
def command(
    what: tuple[str, ...], yard_root: Path, like: str | None, trust: bool, quiet: bool, print_config: bool
) -> None:
    """Train a recipe or a config file in a new run.

    Without arguments this trains `digits`. A file is a YAML or a Python experiment. Changes have the
    form KEY=VALUE, such as training.epochs=5, model=mlp or layout=shared.

    \b
    trainyard train vocalizations data=recanvo data.path=recanvo/
    trainyard train experiments/recanvo/whisper_base_lora_012.py data.path=recanvo/
    trainyard train spectrogram model=efficientnet_v2_qat training.epochs=50
    trainyard train emotions data=goemotions data.path=goemotions/ model=minilm training.epochs=2
    trainyard train digits model=mlp 'model.hidden=[453]' run.name=wide
    trainyard train data=npz data.path=images.npz
    trainyard train --like last run.seed=1
    """
    from trainyard.config.compose import compose, to_yaml

    recipe, overrides = _split(what)
    notes: list[str] = []
    if like is not None:
        if recipe is not None:
            raise click.UsageError(f"Pass either a recipe ({recipe}) or --like {like}, not both.")
        base = dict(find_run(yard_root, like).snapshot.config)
        base["run"] = {**base.get("run", {}), "name": None}
        config = compose(overrides=overrides, base=base, trust=trust)
    else:
        config = compose(recipe or "digits", overrides, trust=trust, notes=notes)
    for note in notes if not quiet else ():
        click.echo(f"note: {note}", err=True)
    if print_config:
        click.echo(to_yaml(config), nl=False)
        return
    from trainyard.running.logs import RunConsole
    from trainyard.running.train import train

    messages = [f"note: {note}" for note in notes]
    train(config, yard_root, overrides=overrides, console=RunConsole(quiet=quiet), trust=trust, messages=messages)


def _split(what: tuple[str, ...]) -> tuple[str | None, list[str]]:
    """The recipe, if there is one, and the changes."""
    recipes = [word for word in what if "=" not in word and not word.startswith(("~", "+"))]
    if len(recipes) > 1:
        raise click.UsageError(f"Pass only one recipe, not {', '.join(recipes)}. Changes have the form KEY=VALUE.")
    return (recipes[0] if recipes else None), [word for word in what if word not in recipes]
