"""`twotower export`: writes a trained run as SavedModels."""

import argparse
from pathlib import Path

from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing
from tfrs_twotower.errors import ConfigError

DESCRIPTION = """\
Writes the next version of a run's SavedModel and checks it against the model in memory.

  twotower export runs/movielens/latest                              the flavour of the recipe's index
  twotower export runs/movielens/latest --flavour portable --to out  for an unmodified TF Serving
  twotower export runs/movielens/latest --flavour both --to out      out/scann/1 and out/portable/1
  twotower export runs/movielens/latest --set kind=exact             another index than the recipe's

Without --to the version goes into RUN/export, and `latest` then points to RUN, even if RUN is an older run. A server of
runs/NAME/latest/export loads it within seconds. With --to, running servers do not change.

Flavours:
  scann      searches by ScaNN's custom op, for `twotower serve`, or a TF Serving built with that op
  portable   stock TensorFlow ops alone: exact search, or IVF from 50,000 items on
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "export", run, "write a run as a SavedModel", DESCRIPTION)
    options.add_run(parser)
    parser.add_argument("--flavour", choices=("scann", "portable", "both"), help="default: that of the run's index")
    parser.add_argument("--to", metavar="ROOT", help="the folder of all versions (default: RUN/export)")
    options.add_index_set(parser)
    parser.add_argument("--force", action="store_true",
                        help="export even if the index misses its target recall, or the update failed its gate")
    options.add_sign_key(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Exports and prints each version's path."""
    directory = options.run_directory(args.run_directory)
    with importing():
        from tfrs_twotower.configuration import override
        from tfrs_twotower.recommender import Recommender

    key = options.sign_key(args)
    if args.flavour and args.overrides:
        raise ConfigError(f"`--set` must not be given with --flavour {args.flavour}, which chooses the kind of index. "
                          f"Received: {' '.join(args.overrides)}. Leave one of them out.")
    if args.flavour != "both":
        recommender = Recommender.load(directory)
        index = override(recommender.recipe.index, args.overrides) if args.overrides else None
        print(recommender.export(args.to, flavour=args.flavour, force=args.force, key=key, index=index))
        return
    if args.to is None:
        raise ConfigError("`--to` must name a folder for two flavours. Received: none. Write for example --to out.")
    recommender = Recommender.load(directory)
    for flavour in ("scann", "portable"):
        print(recommender.export(Path(args.to) / flavour, flavour=flavour, force=args.force, key=key))
