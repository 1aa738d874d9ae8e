"""`twotower prepare`: a log of any size as a prepared dataset."""

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from tfrs_twotower.cli import options
from tfrs_twotower.cli.reading import add_reading, newest_files, read_from
from tfrs_twotower.errors import ConfigError

if TYPE_CHECKING:
    from tfrs_twotower.data import Engine, IngestReport

DESCRIPTION = """\
Checks, codes and sorts a log on disk, once. Training, evaluation, updates and batch answers then map its files, and
need not read or hold the log again. Bad rows are left out, with reasons, in FOLDER/1/rejected.parquet.

  twotower prepare data/shop --interactions log/ --items items.csv --user-id customer
  twotower train plain --interactions data/shop                 train on the dataset
  twotower prepare data/shop --append --interactions day.csv    append a day: the rest is not read again
  twotower prepare data/shop --interactions log/ --engine spark --spark spark.master=spark://host:7077
                                                                on a cluster, which shares the folders

The result is the same with either engine, and as a training that reads the files itself has it. A log that fits the
memory needs no preparation. A stopped command leaves no dataset: give it again.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "prepare", run, "check, code and sort a log on disk, once", DESCRIPTION)
    parser.add_argument("folder", metavar="FOLDER", help="the folder of the dataset")
    parser.add_argument("--append", action="store_true",
                        help="append the events to the dataset in FOLDER; options are as for its newest files, unless "
                        "they are given")
    parser.add_argument("--engine", choices=("duckdb", "spark"), default="duckdb",
                        help="duckdb: this machine; spark: a cluster (default: duckdb)")
    parser.add_argument("--memory", metavar="SIZE", help="of DuckDB; beyond it the disk is used (default: 1GB)")
    options.add_spark(parser)
    parser.add_argument("--rejected-limit", type=float, metavar="SHARE",
                        help="the share of bad rows above which it stops (default: 0.01)")
    parser.add_argument("--require-items", action="store_true", default=None,
                        help="an event whose item is not in the item table is a bad row")
    add_reading(parser.add_argument_group("the files"))
    return parser


def run(args: argparse.Namespace) -> int:
    """Prepares or appends, and prints the report."""
    if args.interactions is None:
        raise ConfigError("`--interactions` must name your log. Received: none. Give a Parquet or CSV path.")
    print(_append(args) if args.append else _prepare(args))
    print(f"Prepared: {args.folder}. Train on it: twotower train plain --interactions {args.folder}")
    return 0


def _prepare(args: argparse.Namespace) -> "IngestReport":
    from tfrs_twotower.data import Files, Rules, prepare

    return prepare(read_from(Files(""), args), args.folder, _engine(args), Rules(**_rules(args)))


def _append(args: argparse.Namespace) -> "IngestReport":
    from tfrs_twotower.data import Prepared, append_prepared

    if args.memory or args.spark or args.engine != "duckdb":
        raise ConfigError("`--append` reads the new events in memory, by no engine. Leave out --engine, --memory and "
                          "--spark.")
    dataset = Prepared(args.folder)
    rules = dataclasses.replace(dataset.rules(), **_rules(args))
    return append_prepared(args.folder, read_from(newest_files(dataset), args), rules)


def _rules(args: argparse.Namespace) -> dict[str, Any]:
    said = {"limit": args.rejected_limit, "require_items": args.require_items}
    return {name: value for name, value in said.items() if value is not None}


def _engine(args: argparse.Namespace) -> "Engine":
    from tfrs_twotower.data import DuckDB

    spark = options.spark(args)
    if spark and args.memory:
        raise ConfigError("`--memory` does not belong to `--engine spark`. Leave one of them out.")
    return spark or (DuckDB(args.memory) if args.memory else DuckDB())
