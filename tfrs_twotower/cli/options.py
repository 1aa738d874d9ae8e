"""Options and helpers that several verbs share."""

import argparse
import dataclasses
import datetime
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfrs_twotower.cli.reading import add_reading
from tfrs_twotower.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from tfrs_twotower.data import Spark
    from tfrs_twotower.exporting import Key
    from tfrs_twotower.online import Stores
    from tfrs_twotower.recommender import Recommender

RUNS = Path("runs")


def verb(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str,
    run: Callable[[argparse.Namespace], int | None], summary: str, description: str,
) -> argparse.ArgumentParser:
    """Adds one verb's parser, whose `run` is called with the parsed arguments."""
    parser = subparsers.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)
    parser.add_argument("--import", dest="modules", action="append", default=[], metavar="MODULE",
                        help="a Python module or file whose classes the recipe or the run names; may be repeated")
    return parser


def add_run(parser: argparse.ArgumentParser) -> None:
    """Adds the positional argument RUN."""
    parser.add_argument("run_directory", metavar="RUN", help="a run's folder, such as runs/movielens/latest")


def add_seen(parser: argparse.ArgumentParser) -> None:
    """Adds `--include-seen` and `--exclude-seen`: `exclude_seen` is None if neither is given."""
    seen = parser.add_mutually_exclusive_group()
    seen.add_argument("--include-seen", dest="exclude_seen", action="store_false", default=None,
                      help="recommend seen items too")
    seen.add_argument("--exclude-seen", dest="exclude_seen", action="store_true",
                      help="leave out seen items (default: as in the recipe's evaluation)")


def add_spark(parser: argparse.ArgumentParser) -> None:
    """Adds `--spark`."""
    parser.add_argument("--spark", action="append", default=[], metavar="NAME=VALUE",
                        help="a setting of Spark, such as spark.master=spark://host:7077; may be repeated")


def spark(args: argparse.Namespace) -> "Spark | None":
    """The `Spark` of `--engine spark` and `add_spark`'s arguments; None for another engine."""
    if args.engine != "spark":
        if args.spark:
            raise ConfigError(f"`--spark` does not belong to `--engine {args.engine}`. Leave one of them out.")
        return None
    from tfrs_twotower.data import Spark

    pairs = [text.partition("=") for text in args.spark]
    if bad := [name for name, parted, _ in pairs if not parted]:
        raise ConfigError(f"`--spark` must look like NAME=VALUE. Received: {bad[0]}. For example: "
                          "spark.master=spark://host:7077")
    return Spark(tuple((name, value) for name, _, value in pairs))


def moment(text: str) -> int:
    """Seconds since 1970 of a number or an ISO time, which is UTC if it names no zone."""
    if text.isdecimal():
        return int(text)
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be seconds since 1970 or a time such as 2026-11-30, not {text!r}") \
            from error
    return int((at if at.tzinfo else at.replace(tzinfo=datetime.timezone.utc)).timestamp())


def add_store(parser: argparse.ArgumentParser | argparse._ArgumentGroup, required: bool) -> None:
    """Adds `--store` and its options to a parser or a group of one."""
    parser.add_argument("--store", metavar="STORE", required=required,
                        help="where users' events and columns are kept: sqlite:PATH (`serve`, `consume` and `load` "
                        "make a missing file), redis://HOST:PORT/DB, or a store of your own, module.Class:REST. The "
                        "password of Redis is TWOTOWER_REDIS_PASSWORD, or in the file that "
                        "TWOTOWER_REDIS_PASSWORD_FILE names")
    parser.add_argument("--keep-events", type=positive, default=1000, metavar="N",
                        help="keep the newest N events of each user (default: 1000)")
    parser.add_argument("--keep-kinds", nargs="+", default=(), metavar="KIND",
                        help="of older events, keep the newest N of each of these kinds too, such as buy (default: "
                        "none)")
    parser.add_argument("--keep-days", type=positive, metavar="DAYS",
                        help="drop events that are older than DAYS (default: never)")
    parser.add_argument("--archive", metavar="FOLDER",
                        help="keep all events here too, in Parquet by day, before the store has them; one folder per "
                        "process. `archive:FOLDER` reads them")
    parser.add_argument("--allow-loss", action="store_true",
                        help="accept a Redis server that acknowledges events before they are on disk")


def open_store(args: argparse.Namespace, late: bool = False, existing: bool = False) -> "Stores":
    """The `online.Stores` that `add_store`'s arguments name; `late`, `existing`: see `online.open_stores`."""
    from tfrs_twotower.online import Archive, ArchivedHistory, Retention, open_stores
    from tfrs_twotower.online.late import Late

    seconds = None if args.keep_days is None else args.keep_days * 86_400
    retention = Retention(args.keep_events, seconds, tuple(dict.fromkeys(args.keep_kinds)))
    stores = open_stores(args.store, retention, args.allow_loss, late, existing)
    if not args.archive:
        return stores
    try:
        archive = Late(lambda: Archive(args.archive)).part() if late else Archive(args.archive)
        return dataclasses.replace(stores, history=ArchivedHistory(stores.history, archive))
    except BaseException:
        stores.close()
        raise


def say_unknown(recommender: "Recommender", users: Sequence[str]) -> None:
    """Names the users that the log lacks, on standard error."""
    from tfrs_twotower.pipeline.requests import user_rows

    unknown = [user for user, row in zip(users, user_rows(recommender.served.log, users)) if row < 0]
    if unknown:
        print(f"Not in the log, so answered as unknown users: {', '.join(unknown)}", file=sys.stderr)


def add_within(parser: argparse.ArgumentParser) -> None:
    """Adds `--within`."""
    parser.add_argument("--within", type=positive, default=3600, metavar="SECONDS",
                        help="an event that names no answer belongs to one that showed its item less than SECONDS "
                        "before (default: %(default)s)")


def add_index_set(parser: argparse.ArgumentParser) -> None:
    """Adds `--set` for the fields of an index; `configuration.override` reads its values."""
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="NAME=VALUE",
                        help="override a field of the index, such as kind=ivf; may be repeated")


def add_sign_key(parser: argparse.ArgumentParser) -> None:
    """Adds `--sign-key`."""
    parser.add_argument("--sign-key", metavar="FILE", help="sign what is published with the key in this file, at least "
                        "32 bytes, for servers with --verify-key")


def sign_key(args: argparse.Namespace) -> "Key | None":
    """The `exporting.Key` of `add_sign_key`'s argument."""
    from tfrs_twotower.exporting import Key

    return Key.read(args.sign_key) if args.sign_key else None


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name a recipe and its data."""
    parser.add_argument("recipe", nargs="?", help="a recipe's name, its .json file, or a .py file whose function "
                        "`recipe` makes it (default: movielens)")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="NAME=VALUE",
        help="override a recipe's field, such as training.epochs=3; may be repeated",
    )
    add_reading(parser.add_argument_group("your own files, for any recipe: features are derived from their columns"))


def run_directory(text: str) -> Path:
    """The folder of a run.

    Raises:
      ConfigError: it holds no `config.json`; lists the runs that there are.
    """
    path = Path(text)
    if not (path / "config.json").is_file():
        inside = next((str(p) for p in path.parents if (p / "config.json").is_file()), None)
        known = ", ".join(sorted(str(p.parent) for p in RUNS.glob("*/latest/config.json"))) or "none yet"
        raise ConfigError(f"`RUN` must be a folder that `twotower train` wrote. Received: {text}. "
                          + (f"It lies in the run {inside}: name that." if inside else f"Runs here: {known}."))
    return path.resolve()


def positive(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return value


def print_frame(frame: "pd.DataFrame", as_json: bool) -> None:
    """Prints a frame as an aligned table or as JSON records."""
    print(frame.to_json(orient="records", indent=2) if as_json else frame.to_string(index=False))
