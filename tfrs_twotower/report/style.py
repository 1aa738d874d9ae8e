"""The one style of all pictures: a palette for a light and a dark ground, and the settings of the libraries that draw.

Text is at least 12 pixels (9 points). Lines and bars are named beside themselves, not in a legend.
"""

from typing import Any, NamedTuple

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
SIZE = 12  # pixels, of the smallest text


class Ground(NamedTuple):
    """Colours on a light or dark ground; `series`: the model's first, then its rivals."""

    page: str
    text: str
    soft: str
    grid: str
    series: tuple[str, ...]


LIGHT = Ground("#ffffff", "#1c2128", "#59636e", "#e3e6ea", (
    "#1f5fa8", "#c2620f", "#2f7d4f", "#8a4fa8", "#b8336a", "#7a6415", "#18818c", "#7d8590",
))
DARK = Ground("#14181d", "#e6e9ee", "#a4adb8", "#2f363e", (
    "#6cabf0", "#f29b4b", "#63c28a", "#c592e4", "#f083ac", "#d3b84f", "#54c4cf", "#8d96a0",
))


def theme(ground: Ground, background: str | None = None) -> dict[str, Any]:
    """The configuration of Vega-Lite. background: None leaves it transparent."""
    text = {"labelColor": ground.soft, "titleColor": ground.soft, "labelFontSize": SIZE, "titleFontSize": SIZE,
            "titleFontWeight": "normal"}
    return {
        "background": background or "transparent",
        "font": FONT,
        "padding": {"left": 2, "right": 14, "top": 4, "bottom": 2},
        "view": {"stroke": None},
        "axis": {**text, "gridColor": ground.grid, "domainColor": ground.grid, "tickColor": ground.grid,
                 "labelLimit": 170, "titlePadding": 8},
        "header": text,
        "title": {"color": ground.text, "fontSize": 13, "anchor": "start", "fontWeight": "bold"},
        "range": {"category": list(ground.series)},
        "text": {"color": ground.text, "fontSize": SIZE},
        "mark": {"color": ground.series[0]},
        "rule": {"color": ground.text},
        "style": {"soft": {"color": ground.soft}, "halo": {"stroke": ground.page, "strokeWidth": 4},
                  "inverse": {"color": ground.page}},
    }


def apart(places: list[float], least: float) -> list[float]:
    """The places, moved so that each is at least `least` from the next; their order stays."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    found = list(places)
    for _ in range(200):
        moved = False
        for below, above in zip(order, order[1:]):
            lack = least - (found[above] - found[below])
            if lack > 1e-9:
                found[below] -= lack / 2
                found[above] += lack / 2
                moved = True
        if not moved:
            break
    return found


def pyplot() -> dict[str, Any]:
    """The `rcParams` of Matplotlib, for notebooks and benchmarks."""
    from cycler import cycler  # Matplotlib's own

    return {
        "figure.dpi": 100, "savefig.dpi": 150, "font.size": 10, "axes.labelsize": 10, "axes.titlesize": 11,
        "xtick.labelsize": 9, "ytick.labelsize": 9, "axes.titlelocation": "left",
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": LIGHT.soft,
        "axes.labelcolor": LIGHT.soft, "xtick.color": LIGHT.soft, "ytick.color": LIGHT.soft, "text.color": LIGHT.text,
        "axes.grid": True, "axes.grid.axis": "y", "grid.color": LIGHT.grid, "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=LIGHT.series), "legend.frameon": False,
    }


def name_lines(axes: Any) -> None:
    """Writes the label of each line of Matplotlib axes at its right end, in its colour, in place of a legend."""
    axes.figure.draw_without_rendering()  # the layout decides the height
    lines = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
    low, high = axes.get_ylim()
    points = axes.get_window_extent().height / axes.figure.dpi * 72 / (high - low)
    rows = max(line.get_label().count("\n") + 1 for line in lines)
    ends = [float(line.get_ydata()[-1]) for line in lines]
    for line, end, place in zip(lines, ends, apart(ends, 11.5 * rows / points)):
        axes.annotate(line.get_label(), (line.get_xdata()[-1], end), (6, (place - end) * points),
                      textcoords="offset points", color=line.get_color(), va="center", fontsize=9,
                      annotation_clip=False)
