"""`twotower batch`: the answers for all users, or all vectors, as Parquet files."""

import argparse

from tfrs_twotower.cli import options

DESCRIPTION = """\
Writes the recommendations of all users of the log, the vectors of all users, or those of all items, as Parquet files:
for a key-value store, a mail, another engine. All of a user's events are the history, and the time of the request is
just after the log's last event. A stopped batch continues if the command is repeated. When all files are there, it
writes the file `_SUCCESS`. With --engine spark each file is a task of a cluster.

  twotower batch runs/retail/latest --out answers -k 50
  twotower batch runs/retail/latest --what item-vectors --out vectors
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
    parser.add_argument("--engine", choices=("here", "spark"), default="here",
                        help="here: this machine; spark: a cluster, which shares the run and FOLDER (default: here)")
    options.add_spark(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Writes."""
    directory, engine = options.run_directory(args.run_directory), options.spark(args)
    from tfrs_twotower.recommender import Recommender

    run = Recommender.load(directory)
    folder = run.batch(args.out, args.what, args.k, args.exclude_seen, args.shard, engine=engine)
    print(f"Written: {folder}")
