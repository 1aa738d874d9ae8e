"""`twotower rollback`: makes an earlier version serve again."""

import argparse

from tfrs_twotower.cli import options

DESCRIPTION = """\
Publishes the version before the one that serves again, under the next number. A running server takes it up at its next
look, as it does any new version: checked, loaded and warmed aside, then swapped in. Nothing is deleted, and a version
that was rolled back from is not chosen again by itself.

  twotower rollback runs/shop/latest            the version before, whichever run of `shop` it comes from
  twotower rollback runs/shop/latest --to 7     version 7; so a rollback is undone, too
  twotower rollback exports                     in a folder of versions

`latest` then points to the run that the version comes from: the next update starts from there. Stopped half-way, the
version that served still does; run it again. `twotower lineage` shows rollbacks.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "rollback", run, "make an earlier version serve again", DESCRIPTION)
    parser.add_argument("path", metavar="RUN_OR_EXPORT", help="a run's folder, such as runs/movielens/latest, or a "
                        "folder of versions")
    parser.add_argument("--to", type=int, metavar="VERSION", help="the version that is to serve (default: the newest "
                        "before the one that serves that was not rolled back from)")
    return parser


def run(args: argparse.Namespace) -> None:
    """Rolls back and says how to undo it."""
    from tfrs_twotower.updates import roll_back

    done = roll_back(args.path, args.to)
    print(f"Published: {done.published}, version {done.copy_of} again in place of {done.replaced}.\n"
          f"To undo it: twotower rollback {args.path} --to {done.replaced}")
