"""A report as one HTML file: its text by Jinja2, its charts by Vega-Lite, whose script it carries.

Titles come from the data, so they are no HTML: Jinja2 escapes them, and a content-security policy lets the browser run
these scripts alone, by their hashes. It also forbids all requests.
"""

import base64
import functools
import hashlib
import html
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import jinja2
import vl_convert

from tfrs_twotower.report.contents import Comparison, Group, Report, Value, named
from tfrs_twotower.report.style import DARK, LIGHT, Ground, theme

# Draws all charts, and again when the reader's system changes between light and dark.
_DRAW = """
const read = (element) => JSON.parse(element.textContent);
const themes = read(document.getElementById("themes"));
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const drawn = [];
async function draw() {
  for (const view of drawn.splice(0)) view.finalize();
  const options = {mode: "vega-lite", actions: false, renderer: "svg", ast: true,
                   config: themes[dark.matches ? "dark" : "light"], tooltip: {theme: dark.matches ? "dark" : "light"}};
  for (const chart of document.querySelectorAll(".chart")) {
    drawn.push(await vegaEmbed(chart.querySelector("div"), read(chart.querySelector("script")), options));
  }
  document.body.dataset.drawn = drawn.length;
}
dark.addEventListener("change", draw);
draw();
"""


def report_page(report: Report) -> str:
    """The HTML of a `Report`."""
    charts, systems = _charts(), _systems(report)
    found = {
        "headline": [charts.bars(report.headline, systems, report.metric)],
        "training": charts.training(report.epochs, report.metric, report.best_epoch) if report.epochs else [],
        "popularity": [charts.by_popularity(report.by_popularity, systems, f"recall@{report.depth}")],
        "groups": [charts.groups(report.groups, systems, f"recall@{report.k}")] if report.groups else [],
        "lorenz": [charts.lorenz(report.lorenz, systems, report.k)],
        "caught": [charts.caught(report.caught, systems)],
        "map": [charts.places(report.map)] if report.map else [],
        "index": [charts.index(report.index)] if report.index and report.index.get("curve") else [],
        "weights": [charts.weights(fields) for fields in report.field_weights.values() if fields],
        "data": [charts.events(report.data)] if report.data.events else [],
    }
    return _page("report.html", found, report=report, systems=systems)


def comparison_page(comparison: Comparison) -> str:
    """The HTML of a `Comparison`."""
    charts, systems = _charts(), ("A", "B")
    found = {
        "differences": [charts.differences(comparison.differences)],
        "popularity": [charts.by_popularity(comparison.by_popularity, systems, f"recall@{comparison.k}",
                                            "events of the item in A's log")],
    }
    return _page("comparison.html", found, comparison=comparison, systems=systems)


def headline_picture(values: Sequence[Value], systems: Sequence[str], metric: str) -> str:
    """`Report.headline` as SVG, for a notebook."""
    return svg(_charts().bars(values, systems, metric))


def popularity_picture(groups: Sequence[Group], systems: Sequence[str], metric: str) -> str:
    """`Report.by_popularity` as SVG, for a notebook."""
    return svg(_charts().by_popularity(groups, systems, metric))


def svg(chart: Any, width: int = 620) -> str:
    """A chart as SVG, on a light ground."""
    spec = chart.properties(width=width).to_dict(validate=False)
    return vl_convert.vegalite_to_svg(spec, config=theme(LIGHT, LIGHT.page))


def _charts() -> ModuleType:
    from tfrs_twotower.report import charts  # slow to import

    return charts


def _share(value: float) -> str:
    """A share in [0, 1] in percent; one that would be rounded to nothing is not nothing."""
    return f"{value:.1%}" if value == 0 or value >= 0.0005 else "< 0.1%"


def _systems(report: Report) -> tuple[str, ...]:
    """The systems of most charts, in the order of the palette."""
    return tuple(curve.system for curve in report.lorenz)


def _page(template: str, charts: dict[str, list[Any]], **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfrs_twotower.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(named=named, share=_share)
    library = _library()
    return environment.get_template(template).render(
        **values, charts={name: [_spec(chart) for chart in found] for name, found in charts.items()},
        themes={"light": theme(LIGHT), "dark": theme(DARK)}, grounds={"light": _css(LIGHT), "dark": _css(DARK)},
        library=library, draw=_DRAW, policy=" ".join(map(_hash, (library, _DRAW))),
    )


def _spec(chart: Any) -> dict[str, Any]:
    spec = chart.to_dict()
    for name in ("$schema", "config"):
        spec.pop(name, None)
    return {**spec, "autosize": {"type": "fit-x", "contains": "padding"}}


@functools.cache
def _library() -> str:
    """The script of Vega-Lite and Vega, as it stands in a page."""
    return vl_convert.javascript_bundle().replace("</script", "<\\/script")  # type: ignore[call-arg]


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _css(ground: Ground) -> str:
    """The custom properties of a ground."""
    colours = {"page": ground.page, "text": ground.text, "soft": ground.soft, "line": ground.grid}
    colours.update((f"series-{i}", colour) for i, colour in enumerate(ground.series))
    return "".join(f"--{name}:{html.escape(colour)};" for name, colour in colours.items())
