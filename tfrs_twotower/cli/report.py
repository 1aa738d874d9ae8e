"""`twotower report`: the report of a run, as one HTML file."""

import argparse

from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing

DESCRIPTION = """\
Writes the report of a trained run again, RUN/report/index.html, and prints its path. It is one file, which opens in a
browser without a network: the model beside its baselines, training curves, recall by popularity, new items and users,
coverage, a map of the items, the answers for six users, similar items, the index, the data, and what to try next.

  twotower report runs/movielens/latest

Every training writes it too.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "report", run, "write the report of a run, an HTML file with pictures",
                          DESCRIPTION)
    options.add_run(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Writes it."""
    directory = options.run_directory(args.run_directory)
    with importing():
        from tfrs_twotower.recommender import Recommender

    print(Recommender.load(directory).report())
