"""`twotower similar`: the nearest items of an item."""

import argparse

from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing

DESCRIPTION = """\
Prints the items whose vectors are nearest to an item's.

  twotower similar runs/movielens/latest 50
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "similar", run, "print the nearest items of an item", DESCRIPTION)
    options.add_run(parser)
    parser.add_argument("item", metavar="ITEM", help="an item id, as in the log")
    parser.add_argument("-k", type=options.positive, default=10, help="how many items (default: 10)")
    parser.add_argument("--json", action="store_true", help="print records as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    """Searches."""
    directory = options.run_directory(args.run_directory)
    with importing():
        from tfrs_twotower.recommender import Recommender

    options.print_frame(Recommender.load(directory).similar(args.item, args.k), args.json)
