"""`twotower train`: the whole way from a log to an exported, checked SavedModel."""

from tfrs_twotower.cli import options

DESCRIPTION = """\
Trains a recipe, evaluates it against popularity and item-kNN, builds the index and exports a SavedModel.

  twotower train                                      MovieLens-100K
  twotower train retail --set training.epochs=3       the grocery sample, three epochs
  twotower train plain --interactions log.parquet --items items.csv \\
      --user-id customer --item-id sku --timestamp bought_at
                                                      your own files, defaults for everything else

Results go to runs/RECIPE/TIME, and runs/RECIPE/latest points there:
  config.json      the recipe, as run            metrics.json   every figure
  checkpoint/      weights and training state    report/        tables and plots
  export/VERSION/  the SavedModel to serve       rejected.parquet   bad rows, each with its reason
"""


def add_parser(subparsers):
    """Adds the verb."""
    parser = options.verb(subparsers, "train", run, "train, evaluate, index and export a recipe", DESCRIPTION)
    parser.add_argument("recipe", nargs="?", help="a recipe's name (default: movielens)")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="NAME=VALUE",
        help="override a recipe's field, such as training.epochs=3; may be repeated",
    )
    parser.add_argument("--resume", metavar="RUN", help="go on with a run that was stopped")
    parser.add_argument("--runs", default=str(options.RUNS), help="where runs are kept (default: runs)")
    parser.add_argument("--no-export", action="store_true", help="stop after evaluation")
    parser.add_argument("--force", action="store_true", help="export an index that misses its target recall too")
    files = parser.add_argument_group("your own files (the recipes `plain` and `retail`)")
    files.add_argument("--interactions", metavar="PATH", help="Parquet or CSV: a file, a folder or a pattern")
    files.add_argument("--users", metavar="PATH", help="the user table, if there is one")
    files.add_argument("--items", metavar="PATH", help="the item table, if there is one")
    files.add_argument("--user-id", metavar="COLUMN", help="the user id's column")
    files.add_argument("--item-id", metavar="COLUMN", help="the item id's column")
    files.add_argument("--timestamp", metavar="COLUMN", help="the time's column")
    return parser


def run(args):
    """Trains and reports."""
    from tfrs_twotower.cli.training import run_training

    return run_training(args)
