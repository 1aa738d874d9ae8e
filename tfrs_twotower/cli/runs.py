"""`twotower runs`: lists the runs, each with its main metric, without loading TensorFlow."""

import argparse
import json

from tfrs_twotower.cli import options
from tfrs_twotower.pipeline.listing import listed

DESCRIPTION = """\
Lists the runs of a folder, the newest first. A line has the run's main metric (the one that chose its epoch) on the
test queries, beside that of its best baseline. `*` marks the run that `latest` points to.

  twotower runs
  twotower runs --runs elsewhere --json
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "runs", run, "list the runs, each with its main metric", DESCRIPTION)
    parser.add_argument("--runs", default=str(options.RUNS), help="where runs are kept (default: runs)")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    """Lists."""
    found = listed(args.runs)
    if args.json:
        print(json.dumps([row.to_dict() for row in found], indent=2))
        return
    if not found:
        print(f"There are no runs in {args.runs}.")
    width = max((len(row.run) for row in found), default=0)
    for row in found:
        print(row.line(width))
