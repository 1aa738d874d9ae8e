"""`twotower runs`: lists the runs, each with its main metric, without loading TensorFlow."""

import argparse
import json
from pathlib import Path
from typing import Any

from tfrs_twotower.cli import options
from tfrs_twotower.cli.headline import headline, sentence

DESCRIPTION = """\
Lists the runs of a folder, the newest first. Each has the metric that chose its epoch, measured on the test queries,
beside that of its best baseline.
`*` marks the run that `latest` points to.

  twotower runs
  twotower runs --runs elsewhere --json
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "runs", run, "lists what was trained", DESCRIPTION)
    parser.add_argument("--runs", default=str(options.RUNS), help="where runs are kept (default: runs)")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    """Lists."""
    found = [_described(path.parent) for path in Path(args.runs).glob("*/*/config.json") if not
             path.parent.is_symlink()]
    found.sort(key=lambda row: row["run"].rpartition("/")[2], reverse=True)
    if args.json:
        print(json.dumps(found, indent=2))
        return
    if not found:
        print(f"There are no runs in {args.runs}.")
    width = max((len(row["run"]) for row in found), default=0)
    for row in found:
        print(f"{'*' if row['latest'] else ' '} {row['run'].ljust(width)}  {row['state'] or sentence(row['headline'])}")


def _described(folder: Path) -> dict[str, Any]:
    """{"run", "latest", "state", "headline"}; `state` says why there is no headline, or is None."""
    name, latest = f"{folder.parent.name}/{folder.name}", folder.parent / "latest"
    row: dict[str, Any]
    row = {"run": name, "latest": latest.exists() and latest.resolve() == folder.resolve(), "state": None}
    try:
        metric = json.loads((folder / "config.json").read_text(encoding="utf-8"))["recipe"]["training"]["monitor"]
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        row["headline"] = headline(metrics, metric)
        if (folder / "refused.json").exists():
            row["state"] = f"did not pass its gate: {sentence(row['headline'])}"
    except FileNotFoundError:
        row["state"] = "was not evaluated: it trains, or was stopped"
    except (OSError, ValueError, KeyError, TypeError) as error:
        row["state"] = f"its files cannot be read ({error!r})"
    return row
