"""`twotower batch`: the answers for all users, or all vectors, as Parquet files."""

import argparse
import json
from typing import Any

from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing
from tfrs_twotower.errors import ConfigError, invalid

DESCRIPTION = """\
Writes the recommendations of all users of the log, the vectors of all users, or those of all items, as Parquet files:
for a key-value store, a mail, another engine. All of a user's events are the history, and the time of the request is
just after the log's last event. A stopped batch continues if the command is repeated. When all files are there, it
writes the file `_SUCCESS`. With --engine spark each file is a task of a cluster.

  twotower batch runs/retail/latest --out answers -k 50
  twotower batch runs/retail/latest --what item-vectors --out vectors
  twotower batch runs/retail/latest --out answers --allow '{"department": ["GROCERY", "PASTRY"]}' --deny denied.json
  twotower batch runs/retail/latest --out answers --engine spark --spark spark.master=spark://host:7077
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "batch", run, "write the answers for all users, or all vectors", DESCRIPTION)
    options.add_run(parser)
    parser.set_defaults(continued=" The same command continues.")
    parser.add_argument("--out", metavar="FOLDER", required=True, help="where the files are written; made if missing")
    parser.add_argument("--what", choices=("recommendations", "user-vectors", "item-vectors"),
                        default="recommendations", help="what is written (default: recommendations)")
    parser.add_argument("-k", type=options.positive, default=100, help="items per user (default: 100)")
    parser.add_argument("--shard", type=options.positive, default=50_000, metavar="N",
                        help="users or items of a file (default: 50000)")
    options.add_seen(parser)
    for name, which in (("allow", "an item has to satisfy all of them"), ("deny", "an item may satisfy none of them")):
        parser.add_argument(f"--{name}", metavar="RULES", default="{}",
                            help='rules of the recommended items by attribute, as in /v1/recommend: JSON such as '
                                 f'{{"price": {{"max": 5}}}}, or a file of it; {which}')
    parser.add_argument("--engine", choices=("here", "spark"), default="here",
                        help="here: this machine; spark: a cluster, which shares the run and FOLDER (default: here)")
    options.add_spark(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Writes."""
    directory, engine = options.run_directory(args.run_directory), options.spark(args)
    allow, deny = _rules("allow", args.allow), _rules("deny", args.deny)
    with importing():
        from tfrs_twotower.recommender import Recommender

    run = Recommender.load(directory)
    folder = run.batch(args.out, args.what, args.k, args.exclude_seen, args.shard, engine=engine, allow=allow,
                       deny=deny)
    print(f"Written: {folder}")


def _rules(name: str, given: str) -> dict[str, Any]:
    """The rules of `--allow` or `--deny`: JSON, or a file of it."""
    try:
        if not given.lstrip().startswith("{"):
            with open(given, encoding="utf-8") as file:
                given = file.read()
        rules = json.loads(given)
        if isinstance(rules, dict):
            return rules
        reason = "it is no object"
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error)
    way_out = f'{reason[:1].upper()}{reason[1:]}. Write for example {{"category": ["a", "b"]}}.'
    raise ConfigError(invalid(f"--{name}", "be a JSON object of rules, or a file of it", given, way_out))
