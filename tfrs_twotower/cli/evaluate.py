"""`twotower evaluate`: the metrics of a trained run, again."""

from tfrs_twotower.cli import options

DESCRIPTION = """\
Ranks the whole catalogue for every validation or test query of a run, beside its baselines. Measured is the training
that did not see them; of what is served, `train` may have trained on them since.

  twotower evaluate runs/movielens/latest
  twotower evaluate runs/movielens/latest --on validation --json
"""


def add_parser(subparsers):
    """Adds the verb."""
    parser = options.verb(subparsers, "evaluate", run, "measure a trained run", DESCRIPTION)
    options.add_run(parser)
    parser.add_argument("--on", choices=("test", "validation"), default="test", help="which queries (default: test)")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    return parser


def run(args):
    """Evaluates."""
    directory = options.run_directory(args.run_directory)
    from tfrs_twotower.cli.training import dump
    from tfrs_twotower.evaluation import metric_table
    from tfrs_twotower.recommender import Recommender

    recommender = Recommender.load(directory)
    metrics = recommender.evaluate(args.on)
    if args.json:
        dump(metrics)
    else:
        print(metric_table(recommender.evaluations))
