"""`twotower evaluate`: measures a trained run again."""

import argparse
import sys
from typing import TYPE_CHECKING

from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing
from tfrs_twotower.errors import ConfigError, invalid

if TYPE_CHECKING:
    import pandas as pd

DESCRIPTION = """\
Ranks the whole catalogue for the validation or test queries of a run, and prints the metrics beside its baselines. It
measures the run's first training, which did not see these queries. The served model may have been trained on them.
If there are more than evaluation.test_queries (20,000; fewer with more than 100,000 items), a random sample of them is
asked: the same one for all runs on this log and split.

  twotower evaluate runs/movielens/latest
  twotower evaluate runs/movielens/latest --on validation --json
  twotower evaluate runs/movielens/latest --all-queries
  twotower evaluate runs/movielens/latest --scores theirs.parquet

--scores also evaluates another model, by the same rules: its scores are a Parquet or CSV file with the columns user_id,
item_id and score. Items without a score rank after all items with one. Without --scores, --all-queries keeps what it
ranked in the run until it is done: if the command stops, the same command continues. With --engine spark each 20,000
queries are a task of a cluster, which shares the run's folder.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "evaluate", run, "measure a trained run", DESCRIPTION)
    options.add_run(parser)
    parser.add_argument("--on", choices=("test", "validation"), default="test", help="which queries (default: test)")
    parser.add_argument("--scores", metavar="PATH", help="a file of user_id, item_id, score to evaluate as well")
    parser.add_argument("--all-queries", action="store_true", help="ask all of them, not a sample")
    parser.add_argument("--engine", choices=("here", "spark"), default="here",
                        help="here: this machine; spark: a cluster (default: here)")
    options.add_spark(parser)
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    """Evaluates."""
    directory, engine = options.run_directory(args.run_directory), options.spark(args)
    with importing():
        from tfrs_twotower.cli.training import dump
        from tfrs_twotower.pipeline import runs
        from tfrs_twotower.recommender import Recommender

    scores = None if args.scores is None else _scores(args.scores)
    if args.all_queries and scores is None:
        args.continued = " The same command continues."
    figures = Recommender.load(directory).evaluate(args.on, scores, args.all_queries, engine)
    if not runs.is_trained(directory):
        print("The training was stopped before it chose the weights of popularity, neighbours and repeats: they are 0. "
              f"`twotower train --resume {args.run_directory}` finishes it.", file=sys.stderr)
    if args.json:
        dump(figures)
    else:
        print(figures)


def _scores(path: str) -> "pd.DataFrame":
    """The frame of a Parquet or CSV file; ids stay as they are written."""
    import pandas as pd

    try:
        if path.endswith((".parquet", ".pq")):
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype={"user_id": str, "item_id": str})
    except (OSError, ValueError) as error:
        rule = "be a Parquet or CSV file with user_id, item_id and score"
        raise ConfigError(invalid("--scores", rule, path, f"It cannot be read: {error}.")) from error
