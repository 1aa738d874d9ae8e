"""The charts of a report, by Altair. Each takes plain values and is as wide as the page."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair

from tfrs_twotower.report.contents import Caught, Curve, Data, Group, Map, Value, named
from tfrs_twotower.report.style import LIGHT, apart

alt: Any = altair  # its types do not follow `encode(**channels)`

_HEIGHT = 260
_LINE = 15  # pixels between two labels
_COLOURS = len(LIGHT.series)
_OTHER = "other"
Chart = Any
_Row = dict[str, Any]


def _data(rows: Iterable[Mapping[str, Any]]) -> Any:
    return alt.Data(values=list(rows))


def _colour(systems: Sequence[str], field: str = "system") -> Any:
    """The same system has the same colour in all charts: `systems` are in the order of the palette, whose end is grey.
    """
    first = [named(s) for s in systems]
    domain = [*first, *(f" {i}" for i in range(_COLOURS - 1 - len(first))), _OTHER]
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=domain), legend=None)


def _wide(chart: Chart, height: int | Any, description: str) -> Chart:
    return chart.properties(width="container", height=height, description=description)


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"


def bars(values: Sequence[Value], systems: Sequence[str], metric: str) -> Chart:
    """A bar a system, with its interval and value; grey those that other charts do not show."""
    rows: list[_Row] = [
        {"system": named(v.system), "value": v.value, "low": v.low, "high": v.high, "text": _short(v.value),
         "end": v.value if v.high is None else v.high, "series": named(v.system) if v.system in systems else _OTHER}
        for v in values
    ]
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y("system:N", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False)))
    end = max(row["end"] for row in rows)
    return _wide(alt.layer(
        base.mark_bar(height=16).encode(
            x=alt.X("value:Q", title=metric, axis=_share(4), scale=alt.Scale(domain=_room(end))),
            color=_colour(systems, "series"),
            tooltip=["system:N", alt.Tooltip("value:Q", format=".4f"), alt.Tooltip("low:Q", format=".4f"),
                     alt.Tooltip("high:Q", format=".4f")],
        ),
        base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q"),
        base.mark_text(align="left", dx=6).encode(x="end:Q", text="text:N"),
    ), 26 * len(values), f"Bars of {metric}, one a system")


def _share(ticks: int) -> Any:
    """An axis of values up to 1, that may be longer."""
    return alt.Axis(tickCount=ticks, labelExpr="datum.value > 1 ? '' : datum.label")


def _room(end: float, factor: float = 1.3) -> list[float]:
    """The domain of bars whose text stands behind them."""
    return [0.0, factor * max(end, 1e-4)]


def training(epochs: Sequence[Mapping[str, Any]], metric: str, best_epoch: int | None) -> list[Chart]:
    """Two charts: the loss, and the metric on validation, by epoch. Vega-Lite cannot fit one of both to the page."""
    ticks = list(range(1, len(epochs) + 1, -(-len(epochs) // 10)))  # Vega-Lite's own are halves, rounded, of few epochs

    def panel(field: str, title: str, place: int, zero: bool) -> Chart:
        rows = [{"epoch": e["epoch"] + 1, "value": e[field], "series": "ab"[place]} for e in epochs if field in e]
        base = alt.Chart(_data(rows)).encode(
            x=alt.X("epoch:Q", title="epoch",
                    axis=alt.Axis(format="d", values=ticks, grid=False),
                    scale=alt.Scale(domain=[1, max(len(epochs), 2)])),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=zero), axis=alt.Axis(tickCount=4)),
            color=alt.Color("series:N", scale=alt.Scale(domain=["b", "a"]), legend=None),
            tooltip=["epoch:Q", alt.Tooltip("value:Q", title=title, format=".4f")],
        )
        layers = [base.mark_line(strokeWidth=2), base.mark_point(filled=True, size=36, opacity=1)]
        if best_epoch and place:
            best = [row for row in rows if row["epoch"] == best_epoch]
            texts = [{**row, "text": f"best: {_short(row['value'])}"} for row in best]
            layers.append(alt.Chart(_data(texts)).mark_text(
                dy=-12, align={1: "left", len(epochs): "right"}.get(best_epoch, "center")).encode(
                x="epoch:Q", y="value:Q", text="text:N"))
        return alt.layer(*layers).properties(width="container", height=150, title=title)

    return [panel("loss", "Training loss", 0, zero=False), panel(metric, f"{metric} on validation", 1, zero=False)]


def by_popularity(
    groups: Sequence[Group], systems: Sequence[str], metric: str, events: str = "training events of the item"
) -> Chart:
    """Lines of recall over groups of targets, the rarest items first. The root scale shows small values too."""
    rows: list[_Row] = [
        {"group": g.name, "targets": g.size, "system": named(v.system), "value": v.value, "low": v.low, "high": v.high}
        for g in groups for v in g.values
    ]
    top = max([r["high"] or r["value"] for r in rows] + [0.01])
    x = alt.X("group:N", sort=None, title=events, scale=alt.Scale(padding=0.3),
              axis=alt.Axis(labelAngle=0, labelOverlap=True, grid=False))
    y = alt.Y("value:Q", title=metric, scale=alt.Scale(type="sqrt", domain=[0, top * 1.03], nice=False),
              axis=alt.Axis(tickCount=5))
    base = alt.Chart(_data(rows)).encode(x=x, y=y, color=_colour(systems))
    return _wide(alt.layer(
        base.mark_rule(strokeWidth=5, opacity=0.25).encode(y="low:Q", y2="high:Q"),
        base.mark_line(strokeWidth=2.5),
        base.mark_point(filled=True, size=45, opacity=1).encode(tooltip=[
            "system:N", alt.Tooltip("group:N", title="training events"), "targets:Q",
            alt.Tooltip("value:Q", title=metric, format=".3f"), alt.Tooltip("low:Q", format=".3f"),
            alt.Tooltip("high:Q", format=".3f")]),
        _ends([(named(v.system), groups[-1].name, v.value) for v in groups[-1].values], systems, "group:N",
              lambda value: (value / (top * 1.03)) ** 0.5, lambda place: top * 1.03 * max(place, 0) ** 2),
    ), _HEIGHT, f"{metric} by the popularity of the item")


def _ends(
    ends: Sequence[tuple[str, Any, float]], systems: Sequence[str], x: str, to: Any = None, back: Any = None
) -> Chart:
    """Names of lines at their right ends. to, back: from a value to its share of the height, and back."""
    places = apart([to(value) for _, _, value in ends], _LINE / _HEIGHT)
    rows = [{"system": name, x.split(":")[0]: at, "value": back(min(place, 1))}
            for (name, at, _), place in zip(ends, places)]
    return alt.Chart(_data(rows)).mark_text(align="left", dx=10, fontWeight="bold").encode(
        x=alt.X(x, sort=None) if x.endswith("N") else x, y="value:Q", text="system:N", color=_colour(systems))


def groups(found: Sequence[Group], systems: Sequence[str], metric: str) -> Chart:
    """Bars in blocks, a block for each group of targets, a bar a system."""
    rows: list[_Row] = [
        {"group": f"{g.name}|{g.size:,} targets", "system": named(v.system), "value": v.value, "low": v.low,
         "high": v.high, "end": v.high or v.value, "text": f"{named(v.system)} {_short(v.value)}"}
        for g in found for v in g.values
    ]
    end = max(row["end"] for row in rows)
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y("group:N", sort=None, title=None, scale=alt.Scale(paddingInner=0.3),
                axis=alt.Axis(ticks=False, domain=False, labelExpr="split(datum.label, '|')")),
        yOffset=alt.YOffset("system:N", sort=[named(s) for s in systems]),
    )
    return _wide(alt.layer(
        base.mark_bar().encode(
            x=alt.X("value:Q", title=metric, axis=_share(4), scale=alt.Scale(domain=_room(end, 1.9))),
            color=_colour(systems),
            tooltip=["group:N", "system:N", alt.Tooltip("value:Q", title=metric, format=".4f"),
                     alt.Tooltip("low:Q", format=".4f"), alt.Tooltip("high:Q", format=".4f")]),
        base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q"),
        base.mark_text(align="left", dx=5).encode(x="end:Q", text="text:N"),
    ), 22 * len(rows) + 18 * len(found), f"{metric} by group of targets")


def lorenz(curves: Sequence[Curve], systems: Sequence[str], k: int) -> Chart:
    """Cumulative shares: the steeper a line, the more the answers are the same few items."""
    rows = [{"system": named(c.system), "items": x, "places": y} for c in curves for x, y in c.points]
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("items:Q", title="share of the catalogue, most offered first",
                scale=alt.Scale(type="sqrt", domain=[0, 1]),
                axis=alt.Axis(format="%", values=[.01, .05, .1, .25, .5, 1])),
        y=alt.Y("places:Q", title=f"share of all first {k} places", scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%", tickCount=5)),
        color=_colour(systems),
    )
    tooltip = ["system:N", alt.Tooltip("items:Q", format=".2%"), alt.Tooltip("places:Q", format=".1%")]
    middle = [min(c.points, key=lambda p: abs(p[1] - level)) for c, level in zip(curves, (0.72, 0.5, 0.3, 0.12))]
    labels = [{"system": named(c.system), "items": x, "places": y} for c, (x, y) in zip(curves, middle)]
    name, look = alt.Chart(_data(labels)).encode(x="items:Q", y="places:Q", text="system:N"), {
        "align": "left", "dx": 7, "dy": 10, "fontWeight": "bold"}
    return _wide(alt.layer(
        base.mark_line(strokeWidth=2.5).encode(tooltip=tooltip),
        name.mark_text(**look, style="halo"), name.mark_text(**look).encode(color=_colour(systems)),
    ), _HEIGHT, "Concentration of the recommendations")


def caught(found: Sequence[Caught], systems: Sequence[str]) -> Chart:
    """One bar a rival: targets that both find, one of them, or none."""
    rows = []
    for c in found:
        start, total = 0, max(c.both + c.model + c.other, 1)
        for count, text, series in ((c.both, "both", _OTHER), (c.model, "model alone", "model"),
                                    (c.other, f"{named(c.other_name)} alone", named(c.other_name))):
            rows.append({"rival": f"beside {named(c.other_name)}", "part": text, "start": start, "end": start + count,
                         "targets": count, "middle": start + count / 2, "series": series,
                         "text": f"{count:,}" if count > 0.06 * total else "",
                         "long": f"{text} {count:,}" if count > 0.2 * total else f"{count:,}" * (count > 0.06 * total)})
            start += count
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y("rival:N", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False, labelLimit=150)))
    text = base.mark_text(style="inverse")
    return _wide(alt.layer(
        base.mark_bar(height=28).encode(
            x=alt.X("start:Q", title="targets that were found",
                    axis=alt.Axis(tickCount=4, labelOverlap=True, labelSeparation=8)), x2="end:Q",
            color=_colour(systems, "series"), tooltip=["rival:N", "part:N", "targets:Q"]),
        text.encode(x="middle:Q", text="text:N", opacity=_if("width < 480")),
        text.encode(x="middle:Q", text="long:N", opacity=_if("width >= 480")),
    ), 44 * len(found), "Targets that the model finds, its rival, or both")


def _if(test: str) -> Any:
    """An opacity: drawn where the test holds, as of the width of the chart."""
    return alt.condition(test, alt.value(1), alt.value(0))


def places(found: Map) -> Chart:
    """The map: a point an item or user, titles on hover, the most popular items named."""
    rows = [{"x": p.x, "y": p.y, "title": p.title, "kind": p.kind} for p in found.places]
    items, users = ([row for row in rows if (row["kind"] == "user") == is_user] for is_user in (False, True))
    share = [f"{s:.0%} of the variance" for s in found.explained]
    blank = alt.Axis(labels=False, ticks=False, grid=False)
    place = {"x": alt.X("x:Q", title=f"first direction ({share[0]})", axis=blank, scale=alt.Scale(zero=False)),
             "y": alt.Y("y:Q", title=f"second direction ({share[1]})", axis=blank, scale=alt.Scale(zero=False))}
    return _wide(alt.layer(
        alt.Chart(_data(items)).mark_circle(size=28, opacity=0.6).encode(
            **place, color=_colour([kind for kind in found.kinds if kind != _OTHER], "kind"),
            tooltip=[alt.Tooltip("title:N"), alt.Tooltip("kind:N", title=found.column or "kind")]),
        alt.Chart(_data(users)).mark_point(shape="cross", size=40, opacity=0.6, filled=True, style="soft").encode(
            x="x:Q", y="y:Q", tooltip=[alt.Tooltip("title:N")]),
        *(layer for is_left in (True, False) for layer in _names(found, is_left)),
    ), 460, "Map of items and users")


def _names(found: Map, is_left: bool) -> list[Chart]:
    """Names of places, on a ground of the page's colour; those on the right of the map stand left of their dot."""
    edge = _middle([p.x for p in found.places])
    rows = [{"x": p.x, "y": p.y, "title": p.title if len(p.title) < 27 else f"{p.title[:25]}…", "wide": p.label == 1}
            for p in found.places if p.label and (p.x <= edge) == is_left]
    base = alt.Chart(_data(rows)).encode(x="x:Q", y="y:Q", text="title:N", opacity=_if("!datum.wide || width > 700"))
    look = {"align": "left" if is_left else "right", "dx": 6 if is_left else -6, "dy": -5}
    return [base.mark_text(**look, style="halo"), base.mark_text(**look)] if rows else []


def _middle(values: Sequence[float]) -> float:
    return (min(values) + max(values)) / 2


def index(found: Mapping[str, Any]) -> Chart:
    """Recall over the time of a query, by effort, with the chosen setting."""
    series = ("tried", "chosen")
    rows = [{"effort": effort, "recall": recall, "ms": ms, "series": series[chosen]}
            for effort, recall, ms, chosen in found["curve"]]
    target, low = found["target_recall"], min(row["recall"] for row in rows)
    place = {
        "x": alt.X("ms:Q", title="milliseconds of one query (median)", axis=alt.Axis(tickCount=5),
                   scale=alt.Scale(domain=[0, 1.15 * max(row["ms"] for row in rows)])),
        "y": alt.Y("recall:Q", title=f"recall@{found['k']} against exact search", axis=alt.Axis(tickCount=4),
                   scale=alt.Scale(domain=[min(low, target) - 0.25 * (1.005 - min(low, target)), 1.005], nice=False)),
    }
    base = alt.Chart(_data(rows)).encode(**place)
    goal = alt.Chart(_data([{"recall": target, "text": f"target {target:g}"}])).encode(y=place["y"])
    picked = alt.Chart(_data(row for row in rows if row["series"] == "chosen")).encode(
        **place, color=_colour(series, "series"))
    return _wide(alt.layer(
        goal.mark_rule(strokeDash=[4, 4]),
        goal.mark_text(align="left", dx=4, dy=-8).encode(x=alt.value(0), text="text:N"),
        base.mark_line(strokeWidth=2).encode(order="effort:Q"),
        base.mark_point(filled=True, size=45, opacity=1).encode(color=_colour(series, "series"), tooltip=[
            "effort:Q", alt.Tooltip("ms:Q", format=".3f"), alt.Tooltip("recall:Q", format=".4f")]),
        picked.mark_point(filled=True, size=130, opacity=1),
        picked.mark_text(align="left", dx=9, dy=14, fontWeight="bold").encode(text="series:N"),
    ), 220, "Recall of the index over the time of a query")


def weights(fields: Mapping[str, float]) -> Chart:
    """Bars of a tower's field weights."""
    ranked = sorted(fields.items(), key=lambda field: -field[1])
    rows = [{"field": name, "weight": weight, "text": f"{weight:.2f}"} for name, weight in ranked]
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y("field:N", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False)),
        x=alt.X("weight:Q", title="mean weight", scale=alt.Scale(domain=[0, 1.15]), axis=alt.Axis(tickCount=4)))
    return _wide(alt.layer(base.mark_bar(height=16), base.mark_text(align="left", dx=5).encode(text="text:N")),
                 26 * len(rows), "Weights of the fields")


def events(data: Data) -> Chart:
    """Events of the log by time."""
    rows = [{"time": time, "events": count, "series": "a"} for time, count in data.events]
    return _wide(alt.Chart(_data(rows)).mark_area(opacity=0.7, interpolate="step-after").encode(
        x=alt.X("time:T", title=None, axis=alt.Axis(grid=False, labelOverlap=True)),
        y=alt.Y("events:Q", title="events", axis=alt.Axis(tickCount=3)),
        color=alt.Color("series:N", legend=None, scale=alt.Scale(domain=["a"])),
    ), 110, "Events of the log by time")


def differences(values: Sequence[Value]) -> Chart:
    """B − A of each metric with its interval, in the colour of the better run; grey where it may be chance."""
    rows = [{"metric": v.system, "value": v.value, "low": v.low, "high": v.high, "text": f"{v.value:+.4f}",
             "series": "B" if (v.low or 0) > 0 else "A" if (v.high or 0) < 0 else _OTHER} for v in values]
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y("metric:N", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False)),
        color=_colour(("A", "B"), "series"))
    x = alt.X("low:Q", title="difference, B − A", axis=alt.Axis(tickCount=5))
    return _wide(alt.layer(
        alt.Chart(_data([{"zero": 0}])).mark_rule(strokeDash=[4, 4]).encode(x="zero:Q"),
        base.mark_rule(strokeWidth=2.5).encode(x=x, x2="high:Q"),
        base.mark_point(filled=True, size=70, opacity=1).encode(x="value:Q", tooltip=[
            "metric:N", alt.Tooltip("value:Q", format="+.4f"), alt.Tooltip("low:Q", format="+.4f"),
            alt.Tooltip("high:Q", format="+.4f")]),
        base.mark_text(dy=-10).encode(x="value:Q", text="text:N"),
    ), 36 * len(values), "Differences of the metrics")
