"""`twotower train`: from a log to an exported, checked SavedModel."""

import argparse

from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing

DESCRIPTION = """\
Trains a recipe and compares it with baselines: popularity, last week's popularity, the user's own earlier items,
item-kNN, EASE and iALS. Then trains once more on all events, with the held-out ones, builds the index and exports a
SavedModel. The figures are those of the first training.

  twotower train                                      MovieLens-100K
  twotower train retail --set training.epochs=3       the grocery sample, three epochs
  twotower train plain --interactions log.parquet --items items.csv \\
      --user-id customer --item-id sku --timestamp bought_at
                                                      your own files, defaults for everything else
  twotower train runs/movielens/tuning/recipe.json    the result of `twotower tune`

Results go to runs/RECIPE/TIME, and runs/RECIPE/latest points there:
  config.json      the recipe, as run            metrics.json   every figure
  checkpoint/      weights and training state    report/        index.html: open it in a browser
  refit/           the same, of the training     rejected.parquet   bad rows, each with its reason
                   on all events                 export/VERSION/    the SavedModel to serve
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "train", run, "train, evaluate, index and export a recipe", DESCRIPTION)
    options.add_recipe(parser)
    parser.add_argument("--resume", metavar="RUN", help="continue a run that was stopped")
    parser.add_argument("--folder", metavar="FOLDER", help="the run's folder, in place of a new one under --runs")
    parser.add_argument(
        "--distribute", choices=("mirrored", "workers", "servers"),
        help="train on all GPUs of this machine, or in the cluster in TF_CONFIG: as one of equal workers, or with "
        "parameter servers; see docs/distributed.md",
    )
    parser.add_argument("--runs", default=str(options.RUNS), help="where runs are kept (default: runs)")
    parser.add_argument(
        "--minutes", type=float, metavar="N", help="for a recipe with a race, such as plain: roughly the time of the "
        "whole command (default: 4 for 100,000 events, 30 for a million, on two cores)",
    )
    parser.add_argument("--no-refit", action="store_true",
                        help="do not train on the held-out events: export the evaluated model; updates do the same")
    parser.add_argument("--no-export", action="store_true", help="stop after evaluation")
    parser.add_argument("--force", action="store_true", help="export the index even if it misses its target recall")
    options.add_sign_key(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Trains and reports."""
    with importing():
        from tfrs_twotower.cli.training import run_training

    return run_training(args)
