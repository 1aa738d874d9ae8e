"""`twotower lineage`: the data, code, seed and parent of a run."""

import argparse
import datetime
import json

from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing

DESCRIPTION = """\
Prints a run and its ancestors, the newest first. Each line is one training; the next line is the one that it started
from. An indented line says when `twotower rollback` made a training serve again.

  twotower lineage runs/movielens/latest
  twotower lineage runs/movielens/latest --json
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "lineage", run, "print the data, code, seed and parent of a run", DESCRIPTION)
    options.add_run(parser)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    """Prints."""
    with importing():
        from tfrs_twotower.pipeline.lineage import lineage

    chain = lineage(options.run_directory(args.run_directory))
    if args.json:
        print(json.dumps(chain, indent=2))
        return
    for link in chain:
        if link.get("missing"):
            print(f"{link['run']}  its folder is gone")
            continue
        until = datetime.datetime.fromtimestamp(link["trained_until"], datetime.timezone.utc)
        print(f"{link['run']}  events until {until:%Y-%m-%d %H:%M}  data {link['data'][:12]}  code {link['code']}  "
              f"seed {link['seed']}  space {link['embedding_space'][:12]}{'  did not pass its gate' * link['refused']}")
        for back in link["rollbacks"]:
            print(f"    rolled back to at {back['at']}: version {back['copy_of']} again, as {back['version']}, "
                  f"in place of {back['replaced']}")
