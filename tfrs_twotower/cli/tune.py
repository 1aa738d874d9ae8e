"""`twotower tune`: searches for better settings of a recipe, within a budget."""

import argparse

from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing

DESCRIPTION = """\
Searches for settings that raise the recipe's validation metric (training.monitor), and writes the best recipe. It does
not use the test queries. The recipe's own settings are the first trial.

  twotower tune movielens --trials 20 --minutes 60
  twotower train runs/movielens/tuning/recipe.json

  twotower tune plain --interactions log.parquet --user-id customer --item-id sku --timestamp bought_at
  twotower tune movielens --search 'model.dim=[32, 64]' --search training.optimizer.learning_rate=0.0003..0.01

The study is kept in runs/RECIPE/tuning/study.db. The same command continues it, also after a kill.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "tune", run, "search for better settings of a recipe", DESCRIPTION)
    parser.set_defaults(continued=" The same command continues the study.")
    options.add_recipe(parser)
    parser.add_argument(
        "--trials", type=options.positive, default=20, help="trainings in the study, with those of earlier calls "
        "(default: 20)",
    )
    parser.add_argument(
        "--minutes", type=float, help="stop after this time; the running training ends after its epoch",
    )
    parser.add_argument(
        "--search", action="append", default=[], metavar="NAME=VALUES",
        help="a setting to search, in [value, value] or low..high, in place of the usual ones; may be repeated",
    )
    parser.add_argument("--to", metavar="FOLDER", help="where study and recipe are kept (default: runs/RECIPE/tuning)")
    return parser


def run(args: argparse.Namespace) -> None:
    """Searches, and prints the trials."""
    with importing():
        from tfrs_twotower.cli.training import recipe_of
        from tfrs_twotower.data import ingest
        from tfrs_twotower.tuning import Budget, parse_dimension, tune

    args.overrides = ["race=null", *args.overrides]  # the search is over settings that a race would choose
    recipe = recipe_of(args)
    space = tuple(map(parse_dimension, args.search)) or None
    folder = args.to or options.RUNS / recipe.name / "tuning"
    log, report = ingest(
        recipe.source,  # type: ignore[arg-type]  # `recipe_of` refuses a recipe without one
        limit=recipe.rejected_limit, require_items=recipe.require_items,
    )
    print(report, flush=True)
    found = tune(recipe, log, folder, space, Budget(args.trials, args.minutes))
    print(f"\n{found.trials.to_string(index=False, na_rep='')}\n")
    print(f"Best: trial {found.best}, {recipe.training.monitor} {found.value:.4f} on validation")
    print(f"Train it: twotower train {found.path}")
