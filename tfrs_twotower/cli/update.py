"""`twotower update`: trains a run further on new events, and publishes it if it is not worse."""

import argparse
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing
from tfrs_twotower.cli.reading import add_reading, given, newest_files, read_from
from tfrs_twotower.errors import ConfigError, NothingNew, invalid

if TYPE_CHECKING:
    from tfrs_twotower.data import Source
    from tfrs_twotower.online import Store
    from tfrs_twotower.recipe import Recipe
    from tfrs_twotower.updates import Update

DESCRIPTION = """\
Starts from a run's weights and trains once over the new events, except the newest. On these newest events the gate
compares it with the serving version. If it is not worse, a second training from the same start takes all new events
(unless the run was trained with --no-refit), and is published as the next version. A refused update stays in its
folder, with the reason in refused.json; `latest` still points to the serving run.

  twotower update runs/shop/latest --interactions 2026-11-22.parquet     a day's file, with the log's columns
  twotower update runs/shop/latest --interactions day/ --items items.csv a folder of Parquet, CSV or TFRecord
  twotower update runs/shop/latest --interactions sqlite:store.db --log-requests answers   what a server recorded
  twotower update runs/shop/latest                                       the run's own source has grown
  twotower update runs/shop/latest --interactions day.csv --user-id client   its columns have other names
  twotower update runs/shop/latest --users-only --interactions hour.parquet   every few minutes

An update is worse if its figure is more than 1% below the serving version's, or if the 95% interval of the paired
difference lies below zero. If the events say what was shown and seen (a store with --log-requests, or a folder of
`twotower collect`), the figure is what the lists of either model can expect; else it is the run's metric. With few
queries a good update may be refused by chance. Then raise --held-out, or read the figures and publish it by
`twotower export RUN --force`.

New ids are added to the vocabularies. The vectors are in a new embedding space, so index and export are built again.

With --users-only, the events train only the embeddings of their users, in order of time. These rows are published as a
small file beside the export, and a running server loads it. `--revert` withdraws the newest file.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "update", run, "train a run further on new events, and publish", DESCRIPTION)
    options.add_run(parser)
    add_reading(parser.add_argument_group("the new events (default of each option: as in the run's own files)"))
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="NAME=VALUE",
        help="a setting of how the new events are read, such as source.delimiter=; or rejected_limit=0.05; "
        "may be repeated",
    )
    parser.add_argument(
        "--held-out", type=float, default=0.1, metavar="SHARE",
        help="the newest share of the new events, for the evaluation (default: 0.1)",
    )
    parser.add_argument("--users-only", action="store_true", help="train only the embeddings of users with new events")
    parser.add_argument(
        "--learning-rate", type=float, metavar="RATE", help="with --users-only: a rate in place of the recipe's"
    )
    parser.add_argument("--revert", action="store_true", help="withdraw the newest update of user rows")
    parser.add_argument("--take-back", dest="revert", action="store_true", help=argparse.SUPPRESS)  # its name in 0.1.0
    options.add_sign_key(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Updates and reports."""
    directory = options.run_directory(args.run_directory)
    with importing():
        from tfrs_twotower.pipeline import runs
        from tfrs_twotower.updates import revert_users, update_full, update_users

    key = options.sign_key(args)
    # Rows of users are written to export/ alone, so such updates may run while a full update trains.
    with runs.writing(directory / runs.EXPORT if args.users_only or args.revert else directory):
        if args.revert:
            reverted = revert_users(directory, key=key)
            print(f"Reverted: {reverted}" if reverted else "There is no update of user rows to revert.")
            return 0 if reverted else 1
        source, limit = source_of(args, runs.read_config(directory).recipe)
        try:
            if args.users_only:
                published = update_users(
                    directory, source, learning_rate=args.learning_rate, rejected_limit=limit, key=key
                )
                print(f"Published: {published}" if published else "Nothing was published.")  # a warning said why
                return 0
            return _report(update_full(directory, source, args.held_out, rejected_limit=limit, key=key))
        except NothingNew as nothing:
            print(f"{nothing} Nothing was published.")
            return 0


def _report(update: "Update") -> int:
    """Prints the outcome of a full update. Returns the exit status."""
    update.recommender.try_report(verbose=1)
    low, high = update.interval
    print(f"\n{update.monitor} on the newest events: {update.serving:.4f} serving, {update.updated:.4f} updated "
          f"(difference within [{low:+.4f}, {high:+.4f}])")
    if update.reason:
        print(f"Refused: {update.reason}\nIts folder is {update.directory}; the serving version does not change.")
        return 1
    print(f"Published: {update.published}")
    return 0


def source_of(args: argparse.Namespace, recipe: "Recipe") -> tuple["Source | None", float]:
    """(source of the new events, limit of bad rows). Files are read as the run's own, unless the options differ.

    The source is None without new files.
    """
    from tfrs_twotower.configuration import override
    from tfrs_twotower.data import TFRecords
    from tfrs_twotower.online import Store

    for assignment in args.overrides:
        if not assignment.startswith(("source.", "rejected_limit=")):
            rule = "name a field of source, or rejected_limit"
            raise ConfigError(invalid("--set", rule, assignment, "An update keeps the recipe; train anew."))
    limits = [assignment for assignment in args.overrides if not assignment.startswith("source.")]
    limit = override(recipe, limits).rejected_limit
    if args.interactions is None:
        if other := given(args) + [assignment for assignment in args.overrides if assignment not in limits]:
            rule = "can only be given with new events. Received: no --interactions. Name them."
            raise ConfigError(f"{', '.join(other)} {rule}")
        return None, limit
    path = os.path.abspath(args.interactions)
    if (Path(path) / "schema.json").is_file():
        return TFRecords(path), limit
    source = read_from(newest_files(recipe.source), args)
    if isinstance(source, Store):
        source = _since(source, recipe)
    changes = [assignment for assignment in args.overrides if assignment.startswith("source.")]
    return override(dataclasses.replace(recipe, source=source), changes).source, limit


def _since(source: "Store", recipe: "Recipe") -> "Store":
    """The store's events since those that the run has of the same store, read as these were."""
    from tfrs_twotower.data import parts_of
    from tfrs_twotower.online import Store

    had = [part for part in parts_of(recipe.source) if isinstance(part, Store) and part.address == source.address]
    if not had:
        return source
    return dataclasses.replace(
        had[-1].after(source.until or 0), log=source.log or had[-1].log, users_path=source.users_path,
        items_path=source.items_path,
    )
