"""`twotower compare`: runs side by side, on the same queries."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing
from tfrs_twotower.errors import ConfigError, nearest

if TYPE_CHECKING:
    from tfrs_twotower.evaluation import PerQuery

DESCRIPTION = """\
Prints the metrics of two or more runs, and the difference of each from the first, with the 95% interval of a paired
bootstrap. The runs must have been evaluated on the same queries; others are refused.

  twotower compare runs/movielens/20261120-101500 runs/movielens/latest
  twotower compare runs/plain/latest runs/hstu/latest --metric ndcg@10 --metric mrr
  twotower compare runs/plain/latest runs/hstu/latest --html difference.html

--html writes a page about two runs: where they differ, metric by metric, item by item and user by user. It opens in a
browser without a network.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "compare", run, "print runs side by side, with paired intervals", DESCRIPTION)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="two or more runs; all are compared with the first")
    parser.add_argument("--metric", action="append", metavar="NAME",
                        help="a metric to show; may be repeated (default: NDCG at the first K, recall at the last)")
    parser.add_argument("--html", metavar="FILE", help="write a page about two runs, item by item and user by user")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    """Compares."""
    if len(args.runs) < 2:
        raise ConfigError(f"`RUN` must name two runs or more. Received: {args.runs[0]}. Add one to compare it with.")
    if args.html is not None and len(args.runs) > 2:
        raise ConfigError(f"`--html` is about two runs. Received: {len(args.runs)}. Name two, or leave it out.")
    folders = [options.run_directory(text) for text in args.runs]
    with importing():
        from tfrs_twotower.evaluation import compare, paired_table, read_per_query
        from tfrs_twotower.pipeline import runs

    found = [read_per_query(folder / runs.REPORT) for folder in folders]
    ks = runs.read_config(folders[0]).recipe.evaluation.ks
    metrics = args.metric or [f"ndcg@{min(ks)}", f"recall@{max(ks)}"]
    rows = [_row(text, other, found[0] if i else None, metrics, compare)
            for i, (text, other) in enumerate(zip(map(_name, folders), found))]
    if args.html is not None:
        _write(args.html, folders[0], folders[1], metrics[0])
    print(json.dumps(rows, indent=2) if args.json else paired_table(rows, metrics))


def _write(path: str, first: Path, second: Path, metric: str) -> None:
    """Writes the page of `--html`."""
    from tfrs_twotower.durable import written_aside
    from tfrs_twotower.pipeline.gathering import compared
    from tfrs_twotower.report import comparison_page

    page = comparison_page(compared(first, second, metric))
    try:
        with written_aside(path) as file:
            file.write(page.encode())
    except OSError as error:
        raise ConfigError(f"`--html` must name a file that can be written. Received: {path} ({error}).") from error


def _row(
    name: str, found: "PerQuery", first: "PerQuery | None", metrics: Sequence[str],
    compare: Callable[["PerQuery", "PerQuery"], dict[str, Any]],
) -> dict[str, Any]:
    """{"run", "queries", metric: {"value", "difference", "interval"}}; the first run has no difference."""
    import numpy as np

    paired = compare(found, first) if first else {}
    for metric in metrics:
        if metric not in found.per_query:
            raise ConfigError(
                f"`--metric` must be a metric that is kept per query. Received: {metric}."
                + nearest(metric, found.per_query, most=20)
            )
    row = {"run": name, "queries": int(np.isfinite(found.per_query[metrics[0]]).sum())}
    for metric in metrics:
        value = float(np.nanmean(found.per_query[metric]))
        row[metric] = {"value": value, **paired.get(metric, {})}
    return row


def _name(folder: str | Path) -> str:
    return f"{Path(folder).parent.name}/{Path(folder).name}"
