"""The work of `twotower train`, and its printed outcome."""

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tfrs_twotower import columns as c
from tfrs_twotower import recipes
from tfrs_twotower.cli import console, options
from tfrs_twotower.cli.inspect import print_field_weights
from tfrs_twotower.cli.reading import given, newest_files, read_from
from tfrs_twotower.configuration import override
from tfrs_twotower.data import Files
from tfrs_twotower.errors import ConfigError, TwoTowerError
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.reporting import Figures
from tfrs_twotower.recipe import Recipe
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.training import is_server, serve, strategy

DEFAULT = "movielens"
_SHOWN_USERS = 3


def run_training(args: argparse.Namespace) -> int:
    """Trains, evaluates, indexes, exports; prints the outcome. Returns the exit status."""
    if args.distribute == "workers" and not (args.folder or args.resume):
        raise ConfigError(
            "`--distribute workers` needs `--folder`, a folder that all workers share. Received: none. For example: "
            "--folder runs/movielens/two-workers"
        )
    if args.distribute == "servers" and is_server():
        serve()
    key = options.sign_key(args)
    devices = strategy(args.distribute)  # before TensorFlow does anything else
    recommender = _asked(args)
    try:
        exported = recommender.run(devices, not args.no_export, args.force, key=key)
    except BaseException:
        with contextlib.suppress(TwoTowerError):  # it has no folder
            if (recommender.directory / runs.CONFIG).is_file():
                args.continued = f" `twotower train --resume {_shown(recommender.directory)}` continues the training."
        raise
    if recommender.figures is not None:  # this process is the chief
        print_outcome(recommender, recommender.figures, exported)
    return 0


def _asked(args: argparse.Namespace) -> Recommender:
    """The recommender that the arguments ask for."""
    if args.resume:
        names = ("recipe", "overrides", "minutes", "no_refit")
        other = [name for name in names if getattr(args, name)] + given(args)
        if other:
            raise ConfigError(
                f"`--resume` continues the run with its own settings. Received also: {', '.join(other)}. Leave these "
                "out, or start a new run without `--resume`."
            )
        directory = Path(args.resume).resolve()
        return Recommender(runs.read_config(directory).recipe, directory=directory)
    recipe = recipe_of(args)
    if args.minutes is not None:
        if recipe.race is None:
            raise ConfigError(
                f"`--minutes` needs a recipe with a race, such as plain. Received: recipe `{recipe.name}`. Set "
                "training.epochs instead."
            )
        recipe = override(recipe, [f"race.minutes={args.minutes}"])
    if recipe.race is not None and args.distribute in ("workers", "servers"):
        raise ConfigError(
            f"`--distribute {args.distribute}` needs a recipe without a race. Received: `{recipe.name}`, which has "
            "one. Race on one machine, and name that run's config.json; or add --set race=null."
        )
    if args.no_refit:
        recipe = override(recipe, ["training.refit=false"])
    folder = Path(args.folder).resolve() if args.folder else None
    if folder is not None and (folder / runs.CONFIG).is_file():  # a worker that is started again
        _check_overrides(runs.read_config(folder).recipe, args.overrides, folder)
    return Recommender(recipe, directory=folder, root=args.runs)


def _check_overrides(kept: Recipe, assignments: Sequence[str], folder: Path) -> None:
    """Raises `ConfigError` if an assignment differs from the settings of the run in the folder."""
    for assignment in assignments:
        if not assignment.startswith("race") and override(kept, [assignment]) != kept:  # the race is over
            raise ConfigError(
                f"`--folder` must be new, or hold a run with the same settings. Received: {folder}, whose run was "
                f"started without --set {assignment}. Name another folder, or continue that run: --resume {folder}"
            )


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe that the arguments ask for."""
    recipe = recipes.load(args.recipe or DEFAULT)
    if given(args):
        recipe = _on(recipe, args)
    recipe = override(recipe, args.overrides)
    if recipe.source is None:
        raise ConfigError(
            f"The recipe `{recipe.name}` needs `--interactions`. Received: none. For example: twotower train "
            f"{recipe.name} --interactions log.parquet --user-id customer --item-id sku --timestamp bought_at"
        )
    return recipe


def _on(recipe: Recipe, args: argparse.Namespace) -> Recipe:
    """The recipe on the files of the arguments.

    A recipe from a .json file reads other files as it reads its own. A recipe by name derives its features from their
    columns, unless features are given.
    """
    if args.interactions is None:
        if not isinstance(recipe.source, Files):
            raise ConfigError("`--interactions` must name your log. Received: none. Give a Parquet or CSV path.")
        return dataclasses.replace(recipe, source=read_from(recipe.source, args))
    if (args.recipe or DEFAULT).endswith(".json"):
        return dataclasses.replace(recipe, source=read_from(newest_files(recipe.source), args), title=None)
    of_features = any(assignment.startswith("schema.") for assignment in args.overrides)
    return dataclasses.replace(recipe.on(read_from(Files(""), args)), schema=recipe.schema if of_features else None)


def print_lost(beats: Mapping[str, Mapping[str, Any]], metric: str) -> None:
    """Prints a line for each baseline above the model by more than the interval; `beats` as in metrics.json."""
    for name, found in beats.items():
        if metric not in found:  # coverage is no mean over queries
            continue
        (low, high), difference = found[metric]["interval"], found[metric]["difference"]
        if high < 0:
            way_out = " A request's `popularity_beta` below 0 adds popularity." if name == "popularity" else ""
            print(f"Warning: {name} is above the model: {metric} {difference:+.4f} [{low:.4f}, {high:.4f}]. The slices "
                  f"in metrics.json show for which users and items.{way_out}\n")


def print_outcome(recommender: Recommender, metrics: Figures, exported: Path | None) -> None:
    """The metric table, recommendations for three users, and what to do next."""
    console.tables(metrics.short_tables())
    print_field_weights(metrics["field_weights"])
    if metrics["collapse"]["message"]:
        print(f"Warning: {metrics['collapse']['message']}\n")
    for line in (*metrics.sampled(), *metrics.skipped()):
        print(line)
    console.verdict(metrics.verdict())
    print_lost(metrics["beats"], recommender.recipe.training.monitor)
    refit = runs.read_refit(recommender.directory)
    if refit:
        print(f"The figures above are those of a model that did not see the {refit.held_out:,} held-out events. The "
              "exported model was trained on these too.\n")
    index = metrics["index"]
    recall = f"recall@{index['k']}"
    print(f"Index: {index['kind']}, recall@{index['k']} {index[recall]:.3f} against exact search, "
          f"{index['latency_p50_ms']:.2f} ms for one query (median).\n")
    for user in recommender.active_users(_SHOWN_USERS):
        _print_user(recommender, user)
    print(f"Report:               {_shown(recommender.directory)}/report/index.html; all metrics: metrics.json")
    if exported:
        print(f"Export:               {_shown(exported)}")
        print(f"Serve it:             {_program()} serve {_shown(exported.parent)}")


def _program() -> str:
    """How this command is typed: its name, or the path of the console script that runs, or the interpreter's module."""
    if shutil.which("twotower"):
        return "twotower"
    started = Path(sys.argv[0])
    return _shown(started) if started.name == "twotower" else f"{_shown(sys.executable)} -m tfrs_twotower"


def _print_user(recommender: Recommender, user: Any) -> None:
    past, offered = (_titles(frame) for frame in (recommender.watched(user, 5), recommender.recommend(user, 5)))
    width = max(map(len, [*past, "latest"]))
    print(f"User {user}")
    print(f"  {'latest'.ljust(width)}   recommended")
    for i in range(max(len(past), len(offered))):
        left, right = (x[i] if i < len(x) else "" for x in (past, offered))
        print(f"  {left.ljust(width)}   {right}")
    print()


def _titles(frame: pd.DataFrame) -> list[str]:
    """Titles, or ids where there are none; a title of two of these items has the id beside it."""
    if "title" not in frame:
        return list(map(str, frame[c.ITEM_ID]))
    several = frame.duplicated("title", keep=False)
    return [f"{title} ({item})" if twice else str(title)
            for title, item, twice in zip(frame["title"], frame[c.ITEM_ID], several)]


def _shown(path: str | Path) -> str:
    """A path relative to this folder, if it lies below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def dump(value: Any) -> None:
    """Prints a result as JSON."""
    print(json.dumps(value, indent=2))
