"""`twotower`: from an interaction log to a served candidate generator. One file per verb."""

import argparse
import errno
import logging
import os
import sys
from collections.abc import Sequence

import absl.logging

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
from tfrs_twotower.errors import TwoTowerError
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


def _quiet() -> None:
    """Leaves out TensorFlow's and Keras' log lines, unless TF_CPP_MIN_LOG_LEVEL is set: errors are raised anyway."""
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        absl.logging.set_verbosity(absl.logging.ERROR)
        logging.getLogger("tensorflow").setLevel(logging.ERROR)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status: 0 done, 1 refused with a message, 2 wrong usage."""
    _quiet()
    given = [*(sys.argv[1:] if argv is None else argv)]
    given[:1] = [_RENAMED.get(verb, verb) for verb in given[:1]]
    args = build_parser().parse_args(given)
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
        print("twotower: the disk is full. Complete files are kept. Make room and run the command again; "
              "`twotower train --resume RUN` continues a training.", file=sys.stderr)
        return 1
