"""Tables for the terminal and for notebooks, always with the baselines beside the model."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfrs_twotower.evaluation.evaluate import Evaluation

_BOUNDED = 3  # evaluations whose intervals fit into one line


def metric_table(evaluations: Mapping[str, Evaluation], names: Sequence[str] = ()) -> str:
    """One row per metric, one column per evaluation. Values have intervals; of more than three, only the first.

    Args:
      evaluations: {column heading: `Evaluation`}, the model first.
      names: of the metrics; () for all.

    Returns:
      Aligned text, without a newline at the end.
    """
    return _aligned(*_metrics(evaluations, names))


def metric_html(evaluations: Mapping[str, Evaluation]) -> str:
    """`metric_table` as HTML, for a notebook."""
    heading, rows = _metrics(evaluations)
    lines = [f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    return f"<table><tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in heading)}</tr>{''.join(lines)}</table>"


def _metrics(evaluations: Mapping[str, Evaluation], names: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """(heading, rows) of `metric_table`."""
    known = next(iter(evaluations.values())).metrics
    names = [name for name in names or known if name in known]
    bounded = evaluations if len(evaluations) <= _BOUNDED else list(evaluations)[:1]
    rows = [
        [name, *(_cell(e.metrics.get(name), e.intervals.get(name) if heading in bounded else None)
                 for heading, e in evaluations.items())]
        for name in names
    ]
    return ["metric", *evaluations], rows


def slice_table(evaluations: Mapping[str, Evaluation], metric: str) -> str:
    """One row per slice with its number of targets, and `metric` of each evaluation."""
    first = next(iter(evaluations.values()))
    rows = []
    for name, values in first.slices.items():
        cells = []
        for evaluation in evaluations.values():
            part = evaluation.slices.get(name, {})
            cells.append(_cell(part.get(metric), part.get("intervals", {}).get(metric)))
        rows.append([name, f"{values['targets']:,}", *cells])
    return _aligned([f"{metric} by slice", "targets", *evaluations], rows)


def view_table(views: Mapping[str, Mapping[str, Any]], k: int) -> str:
    """Rows for NDCG and recall at `k` in each view, one column per evaluation.

    Args:
      views: the entry `views` of `metrics.json`.
    """
    names = list(next(iter(views.values()))["metrics"])
    rows = [
        [f"{metric} of {view}", f"{found['targets']:,}", *(_cell(found["metrics"][n].get(metric), None) for n in names)]
        for view, found in views.items() for metric in (f"ndcg@{k}", f"recall@{k}")
    ]
    return _aligned(["view", "targets", *names], rows)


def paired_table(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> str:
    """One row per run, one column per metric: its value and its difference from the first run, with the interval.

    Args:
      rows: dicts of "run", "queries" and, by metric, "value", and except for the first "difference" and "interval".
    """
    def cell(found: Mapping[str, Any]) -> str:
        text = f"{found['value']:.4f}"
        if "difference" not in found:
            return text
        low, high = found["interval"]
        return f"{text} {found['difference']:+.4f} [{low:+.4f}, {high:+.4f}]"

    lines = [[row["run"], f"{row['queries']:,}", *(cell(row[metric]) for metric in metrics)] for row in rows]
    return _aligned(["run", "queries", *metrics], lines)


def _cell(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "–"
    text = f"{value:.4f}" if abs(value) < 1 else f"{value:.3f}"
    return f"{text} [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else text


def _aligned(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(heading, *rows)]
    lines = [heading, ["-" * width for width in widths], *rows]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip() for line in lines)
