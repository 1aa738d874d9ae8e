"""`twotower`: from an interaction log to a served candidate generator. One file per verb."""

import argparse
import errno
import os
import sys
from collections.abc import Sequence

from tfrs_twotower import __version__
from tfrs_twotower.cli import (
    ask,
    batch,
    cold_start,
    collect,
    compare,
    consume,
    evaluate,
    experiment,
    explain,
    export,
    index,
    inspect,
    lineage,
    load,
    prepare,
    recommend,
    report,
    rollback,
    runs,
    serve,
    similar,
    train,
    tune,
    update,
    watch,
)
from tfrs_twotower.cli.quiet import quiet
from tfrs_twotower.errors import TwoTowerError, nearest
from tfrs_twotower.modules import own_module

VERBS = (
    prepare, cold_start, train, tune, update, rollback, evaluate, report, compare, runs, recommend, similar, explain,
    ask, batch, index, export, serve, load, consume, collect, experiment, watch, inspect, lineage,
)
_RENAMED = {"cold": "cold-start"}  # verbs of 0.1.0, which scripts may hold

DESCRIPTION = """\
Trains, evaluates, indexes, exports and serves two-tower retrieval models.

A first walk:
  twotower train retail                       train on the sample that comes with the package
  twotower recommend runs/retail/latest 1     print what household 1 may buy next
  twotower serve runs/retail/latest/export    answer over REST and gRPC on this machine

Every verb has its own help: twotower VERB --help
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="twotower", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"twotower {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in VERBS:
        verb.add_parser(verbs)
    return parser


def _parsed(given: Sequence[str]) -> argparse.Namespace:
    """The arguments. An unknown verb or option ends the process with status 2 and, if there is one, the nearest."""
    parser = build_parser()
    (verbs,) = (action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    if given and not given[0].startswith("-") and given[0] not in verbs:
        parser.error(f"There is no verb `{given[0]}`.{nearest(given[0], verbs, most=len(verbs))}")
    args, unknown = parser.parse_known_args(given)
    if unknown:
        verb = verbs.get(given[0], parser)
        close = nearest(unknown[0], verb._option_string_actions, most=0)
        verb.error(f"unrecognized arguments: {' '.join(unknown)}.{close}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status: 0 done, 1 refused with a message, 2 wrong usage."""
    given = [*(sys.argv[1:] if argv is None else argv)]
    given[:1] = [_RENAMED.get(verb, verb) for verb in given[:1]]
    args = _parsed(given)
    args.given = given
    quiet()
    try:
        for name in getattr(args, "modules", ()):
            own_module(name)
        return args.run(args) or 0
    except TwoTowerError as error:
        print(f"twotower: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"twotower: stopped.{getattr(args, 'continued', '')}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    except Exception as error:  # from Python, Arrow or TensorFlow, each with a class of its own
        if os.strerror(errno.ENOSPC) not in str(error):
            raise
        print("twotower: the disk is full. Complete files are kept. Make room and run the command again."
              f"{getattr(args, 'continued', '')}", file=sys.stderr)
        return 1
