"""The pictures of a report, as PNG files. Needs the extra `plots`."""

import os
from collections.abc import Mapping
from pathlib import Path

from tfrs_twotower.evaluation.evaluate import Evaluation
from tfrs_twotower.evaluation.slices import DECILES
from tfrs_twotower.extras import require

_COLOURS = ("#1f5fa8", "#d9822b", "#3c8d5a", "#8a5aa8", "#6b6b6b")


def plot_deciles(
    evaluations: Mapping[str, Evaluation], path: str | os.PathLike[str], metric: str = "recall@10"
) -> None:
    """Writes bars of `metric` by the target's popularity decile: a group per decile, a bar per evaluation.

    Args:
      evaluations: {legend entry: `Evaluation`}, the model first; at most five.
      path: the PNG to write; its folder is made.
      metric: a metric of the slices.

    Raises:
      MissingExtraError: matplotlib is not installed.
    """
    figure = require("matplotlib.figure").Figure(figsize=(9, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(evaluations)
    first = next(iter(evaluations.values()))
    for place, (name, evaluation) in enumerate(evaluations.items()):
        for decile in range(1, DECILES + 1):
            part = evaluation.slices.get(f"item_decile_{decile}")
            if part is None:
                continue
            at = decile - 0.4 + width * (place + 0.5)
            axes.bar(at, part[metric], width * 0.92, color=_COLOURS[place], label=name)
            if metric in part["intervals"]:
                low, high = part["intervals"][metric]
                axes.plot([at, at], [low, high], color="#222222", linewidth=0.9)
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    axes.legend(unique.values(), unique.keys(), frameon=False, loc="upper left")
    axes.set_title(f"{metric} by popularity of the target item (thin lines: 95% intervals)", loc="left")
    axes.set_xticks(range(1, DECILES + 1), [_tick(first, d) for d in range(1, DECILES + 1)])
    axes.set_xlabel("popularity decile of the target (1 = fewest training events); below: number of targets")
    axes.set_ylabel(metric)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _tick(evaluation: Evaluation, decile: int) -> str:
    part = evaluation.slices.get(f"item_decile_{decile}")
    return f"{decile}\n{part['targets'] if part else 0:,}"
