"""`twotower explain`: why a user gets an item."""

import argparse

from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing

DESCRIPTION = """\
Prints why a user of the log gets an item: the shares of the events in the user's history, of the features and of the
item's popularity in its score, and what would be offered without the strongest event. Shares are differences from the
average item of the catalogue, and their sum is the score.

If the query tower is linear, as that of a pooled model of `plain`, the shares are exact. Otherwise a share is how much
lower the score is without that event or feature, for the newest 100 events.

  twotower explain runs/movielens/latest 42 50
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "explain", run, "print why a user gets an item", DESCRIPTION)
    options.add_run(parser)
    parser.add_argument("user", metavar="USER", help="a user id, as in the log")
    parser.add_argument("item", metavar="ITEM", help="an item id, as in the log")
    parser.add_argument("-n", type=options.positive, default=10, help="shares that are printed (default: 10)")
    options.add_seen(parser)
    parser.add_argument("--json", action="store_true", help="print all shares as JSON records")
    return parser


def run(args: argparse.Namespace) -> None:
    """Explains."""
    directory = options.run_directory(args.run_directory)
    with importing():
        from tfrs_twotower.recommender import Recommender

    recommender = Recommender.load(directory)
    found = recommender.explain(args.user, args.item, args.exclude_seen)
    options.say_unknown(recommender, [args.user])
    if args.json:
        return options.print_frame(found.shares, True)
    options.print_frame(found.shares.head(args.n).round({"share": 4}), False)
    left = found.shares["share"][args.n:]
    if len(left):
        print(f"{left.sum():.4f} is the sum of {len(left)} smaller shares (-n).")
    print(found.sentence)
