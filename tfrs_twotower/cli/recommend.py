"""`twotower recommend`: the top K of some users."""

import argparse

from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing

DESCRIPTION = """\
Prints the recommendations of a trained run for users of its log. All their events are the history, and the time of the
request is just after the log's last event. (A server uses the present time.) An unknown user gets an answer too.

  twotower recommend runs/movielens/latest 42
  twotower recommend runs/movielens/latest 42 43 -k 20 --include-seen --json
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "recommend", run, "print the top K of some users", DESCRIPTION)
    options.add_run(parser)
    parser.add_argument("users", metavar="USER", nargs="+", help="user ids, as in the log")
    parser.add_argument("-k", type=options.positive, default=10, help="items per user (default: 10)")
    options.add_seen(parser)
    parser.add_argument("--json", action="store_true", help="print records as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    """Recommends."""
    directory = options.run_directory(args.run_directory)
    with importing():
        from tfrs_twotower.recommender import Recommender

    recommender = Recommender.load(directory)
    frame = recommender.recommend(args.users, args.k, exclude_seen=args.exclude_seen)
    options.say_unknown(recommender, args.users)
    options.print_frame(frame, args.json)
