"""`twotower index`: builds and measures an index without exporting it."""

import argparse

from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing

DESCRIPTION = """\
Builds the index of a trained run and measures it against exact search on held-out queries.

  twotower index runs/movielens/latest
  twotower index runs/movielens/latest --set kind=ivf --set target_recall=0.99
  twotower index runs/movielens/latest --set kind=faiss_hnsw

The names of --set are the fields of the recipe's `index`. The run's export does not change: give `twotower export` the
same --set.

An index that a SavedModel cannot hold (faiss_ivf, faiss_ivfpq, faiss_hnsw, milvus:ADDRESS, or one of your own) is kept
in RUN/index. `recommend` and `export` then use it, until this verb builds another one.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "index", run, "build and measure an index", DESCRIPTION)
    options.add_run(parser)
    options.add_index_set(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Builds and prints the report as JSON."""
    directory = options.run_directory(args.run_directory)
    with importing():
        from tfrs_twotower.cli.training import dump
        from tfrs_twotower.configuration import override
        from tfrs_twotower.recommender import Recommender

    recommender = Recommender.load(directory)
    dump(recommender.index(override(recommender.recipe.index, args.overrides)).to_dict())
