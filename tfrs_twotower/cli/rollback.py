"""`twotower rollback`: makes an earlier version serve again."""

import argparse

from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing

DESCRIPTION = """\
Publishes the previous version again, under the next number. A running server loads it at its next poll like any new
version: checked, loaded and warmed aside, then swapped in. Nothing is deleted. A version that was rolled back is chosen
again only by --to.

  twotower rollback runs/shop/latest            the previous version, whichever run of `shop` it comes from
  twotower rollback runs/shop/latest --to 7     version 7; this also undoes a rollback
  twotower rollback exports                     in a folder of versions

`latest` then points to the version's run, and the next update starts there. If a rollback is stopped half-way, the
serving version goes on; run the rollback again. `twotower lineage` shows rollbacks.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "rollback", run, "publish an earlier version again", DESCRIPTION)
    parser.add_argument("path", metavar="RUN_OR_EXPORT", help="a run's folder, such as runs/movielens/latest, or a "
                        "folder of versions")
    parser.add_argument("--to", type=int, metavar="VERSION", help="the version to serve (default: the newest before "
                        "the serving one that was not rolled back)")
    options.add_sign_key(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Rolls back and prints how to undo it."""
    with importing():
        from tfrs_twotower.updates import roll_back

    done = roll_back(args.path, args.to, options.sign_key(args))
    print(f"Published: {done.published}, version {done.copy_of} again in place of {done.replaced}.\n"
          f"To undo it: twotower rollback {args.path} --to {done.replaced}")
