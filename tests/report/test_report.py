"""The report of a run on planted data: its values, and its page as Chromium shows it."""

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from tests.browser import chromium, kept
from tfrs_twotower.cli.main import main
from tfrs_twotower.data import Ragged
from tfrs_twotower.evaluation import ANSWERS, SampledAnswers
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.gathering import compared, gathered, lists
from tfrs_twotower.pipeline.gathering.advice import advice
from tfrs_twotower.pipeline.gathering.titles import Titles
from tfrs_twotower.report import OfferedItem, Similar, charts, comparison_page, report_page, style

HOSTILE = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
INDEX = {  # of a larger catalogue
    "kind": "ivf", "k": 10, "recall@10": 0.96, "target_recall": 0.95, "latency_p50_ms": 0.3, "latency_p99_ms": 0.5,
    "meets_target": True,
    "curve": [[3, 0.81, 0.2, False], [6, 0.9, 0.25, False], [9, 0.96, 0.3, True], [18, 0.99, 0.5, False]],
}


@pytest.fixture(scope="module")
def measured(trained):
    trained.evaluate()
    return trained._measured()


@pytest.fixture(scope="module")
def report(trained, measured):
    return gathered(trained.assembly, trained.directory, *measured)


@pytest.fixture(scope="module")
def page(report):
    """The page with a title, a user and a name of a run that would be scripts if they were HTML."""
    users = [dataclasses.replace(user, name=HOSTILE, past=(HOSTILE, *user.past)) for user in report.users]
    places = [dataclasses.replace(place, title=HOSTILE) for place in report.map.places]
    hostile = dataclasses.replace(
        report, run=HOSTILE, users=tuple(users), map=dataclasses.replace(report.map, places=tuple(places)),
        similar=(Similar(HOSTILE, ((HOSTILE, 1.0),)), *report.similar), index=INDEX,
        covered=(*report.covered, ("popularity", 10, 38_761), ("random", 0, 10)),
        field_weights={"query": {"user_id": 0.6, HOSTILE: 0.2}, "candidate": {}},
        interests={"cosine": 0.4, "overlap": 0.1},
    )
    return report_page(hostile)


def test_what_is_gathered_is_what_the_answers_say(trained, measured, report):
    metrics, answers = measured
    assert len(answers) == report.sample == report.asked == metrics["protocol"]["queries"]
    targets = [(i, t) for i in range(len(answers)) for t in answers.targets.row(i)]
    found = {name: {(i, t) for i, t in targets if t in answers.tops[name][i, :5]} for name in ("model", "popularity")}
    beside = report.caught[0]
    assert (beside.other_name, beside.both) == ("popularity", len(found["model"] & found["popularity"]))
    assert beside.model == len(found["model"] - found["popularity"]) > beside.other
    assert beside.neither == len(targets) - len(found["model"] | found["popularity"])
    assert sum(group.size for group in report.by_popularity) == len(targets)
    name, distinct, catalogue = report.covered[0]
    assert (name, catalogue) == ("model", 100) and distinct == len(np.unique(answers.tops["model"][:, :5]))
    assert all(curve.points[0] == (0, 0) and curve.points[-1][1] == pytest.approx(1) for curve in report.lorenz)
    assert report.headline[0].value == max(v.value for v in report.headline)
    assert {place.kind for place in report.map.places} - {"user"} <= set(report.map.kinds)
    assert report.map.column == "category" and report.map.drawn == 100


def test_six_users_have_their_own_past_and_ticks(trained, measured, report):
    log, (_, answers) = trained.assembly.log, measured
    assert len(report.users) == 6
    for user in report.users:
        at = int(np.flatnonzero(answers.user == log.users["user_id"].to_pylist().index(user.name))[0])
        before = log.item[: answers.row[at]][log.user[: answers.row[at]] == answers.user[at]]
        assert user.events == len(before) and user.past[0] == log.items["item_id"][int(before[-1])].as_py()
        assert all(item.chosen == (item.title in user.chosen) for item in user.answers["model"])


@pytest.mark.parametrize("described, told", [(True, "Offer new items"), (False, "Describe the items")])
def test_who_has_an_item_table_is_not_told_to_add_one(trained, measured, described, told):
    cold = {**measured[0], "slices": {"cold_items": {"targets": measured[0]["protocol"]["targets"]}}}
    given = advice(trained.assembly.recipe, cold, {"interval": None}, [], described)
    assert told in [one.what for one in given] and (not described) == any(one.code == "--items" for one in given)


def test_groups_of_targets_have_about_the_same_size():
    """Eight queries with one target each; the four on the rarest items are missed."""
    counts, items = np.array([1, 1, 1, 1, 50, 60, 70, 80]), np.arange(8, dtype=np.int32)
    rows = np.arange(8)
    answers = SampledAnswers(rows, rows, rows, Ragged.from_lengths(items, np.ones(8, int)), {})
    groups = lists.by_popularity(answers, counts, {"model": items >= 4})
    assert [(g.name, g.size, g.values[0].value) for g in groups] == [
        ("1", 4, 0.0), ("50", 1, 1.0), ("60", 1, 1.0), ("70", 1, 1.0), ("80", 1, 1.0)]
    assert all((g.values[0].low, g.values[0].high) == (g.values[0].value,) * 2 for g in groups)  # all of a group agree


def test_a_title_of_two_items_has_its_id_beside():
    titles, empty = ["Milk", "Bread", None, "Milk", "", "x" * 90], ["i2", "i4"]
    items = pa.table({"item_id": [f"i{n}" for n in range(6)], "title": pa.chunked_array([titles[:2], titles[2:]])})
    shown = ["Milk (i0)", "Bread", empty[0], "Milk (i3)", empty[1], "x" * 79 + "…"]
    assert Titles(SimpleNamespace(items=items), "title")(range(6)) == shown
    coded = items.set_column(1, "title", items["title"].dictionary_encode())
    assert Titles(SimpleNamespace(items=coded), "title")([3, 1]) == ["Milk (i3)", "Bread"]


def test_each_epoch_has_one_tick():
    for last, ticks in ((1, [1]), (2, [1, 2]), (25, [1, 4, 7, 10, 13, 16, 19, 22, 25])):
        panels = charts.training([{"epoch": i, "loss": 1.0, "mrr": 0.5} for i in range(last)], "mrr", None)
        axis = panels[0].to_dict()["layer"][0]["encoding"]["x"]["axis"]
        assert axis["values"] == ticks


def test_labels_are_moved_apart_and_keep_their_order():
    assert style.apart([0.5, 0.5, 0.9], 0.1) == pytest.approx([0.45, 0.55, 0.9])
    assert style.apart([0.2, 0.1], 0.05) == [0.2, 0.1]


def test_a_page_is_one_file_and_titles_are_no_html(page):
    assert len(page) < 2_000_000
    assert HOSTILE not in page and "&lt;script&gt;document.title" in page
    assert "10 of 38,761 items (&lt; 0.1%)" in page and "0 of 10 items (0.0%)" in page
    assert page.count("<script") == page.count("</script>")
    assert not any(f'{name}="http' in page for name in ("src", "href"))


def test_a_training_does_not_need_the_pictures(trained, measured, monkeypatch, caplog):
    monkeypatch.setattr(charts, "bars", None)
    trained.try_report(verbose=0)
    assert f"Try again: twotower report {trained.directory}" in caplog.text


def test_a_notebook_shows_the_headline_of_the_report(trained, measured):
    drawn = trained._repr_html_()
    assert drawn.startswith("<p>Recommender of the recipe toy") and drawn.count("<svg") == 2
    assert "popularity</text>" in drawn and "best baseline" in drawn and "training events of the item" in drawn
    assert trained.evaluate()._repr_html_().count("<svg") == 1


def test_two_runs_are_compared_item_by_item_and_user_by_user(trained, measured, tmp_path, capsys):
    """B is A, but for one query: all of its targets come first, in place of what A put there."""
    a, b = trained.directory, shutil.copytree(trained.directory, tmp_path / "toy" / "b")
    answers = SampledAnswers.read(a / runs.REPORT)
    missed = [i for i in range(len(answers)) if not np.isin(answers.targets.row(i), answers.tops["model"][i, :5]).any()
              and len(answers.targets.row(i)) == 1]
    better, target = missed[0], answers.targets.row(missed[0])[0]
    tops = answers.tops["model"].copy()
    pushed_out, tops[better, 0] = tops[better, 0], target
    dataclasses.replace(answers, tops={"model": tops}).write(b / runs.REPORT)
    with np.load(b / runs.REPORT / "per_query.npz") as kept:
        values = {name: kept[name].copy() for name in kept.files}
    values["model/ndcg@5"][answers.asked[better]] = 1.0
    np.savez(b / runs.REPORT / "per_query.npz", **values)
    found = compared(a, b, "ndcg@5")
    ids = trained.assembly.log.items["item_id"].to_pylist()
    assert (found.better, found.worse) == (1, 0) and found.equal == len(answers) - 1
    assert [(item.title, item.found[1] - item.found[0]) for item in found.gained] == [(ids[target], 1)]
    assert found.lost == () and found.differences[0].system == "ndcg@5" and found.differences[0].value > 0
    assert [item.title for item in found.offered_less] == [ids[pushed_out]]
    assert found.users[0].answers["B"][0] == OfferedItem(ids[target], True) and len(found.users) == 1
    assert found.overlap == pytest.approx(1 - 1 / answers.tops["model"][:, :5].size)
    path = tmp_path / "difference.html"
    assert main(["compare", str(a), str(b), "--html", str(path)]) == 0
    assert "User by user" in path.read_text() and "ndcg@5" in capsys.readouterr().out
    assert main(["compare", str(a), str(b), str(a), "--html", str(path)]) == 1
    assert "`--html` is about two runs" in capsys.readouterr().err
    assert main(["compare", str(a), str(b), "--html", str(tmp_path / "none" / "x.html")]) == 1
    assert "`--html` must name a file" in capsys.readouterr().err


def test_a_run_of_an_earlier_version_is_evaluated_again(trained, measured, tmp_path, capsys):
    run = shutil.copytree(trained.directory, tmp_path / "run")
    (run / runs.REPORT / ANSWERS).unlink()
    assert main(["report", str(run)]) == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    assert path == run / "report" / "index.html" and path.stat().st_size < 5_000_000
    path.unlink()
    path.mkdir()
    assert main(["report", str(run)]) == 1 and "index.html cannot be written" in capsys.readouterr().err


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.mark.parametrize("name, made", [("report", None), ("comparison", comparison_page)])
def test_a_browser_shows_it_without_network_errors_or_scrolling(name, made, page, trained, measured, browser, tmp_path):
    """At 1200 and at 390 pixels, light and dark; pictures are kept where TWOTOWER_SCREENSHOTS says."""
    html = page if made is None else made(compared(trained.directory, trained.directory, "ndcg@5"))
    file = tmp_path / f"{name}.html"
    file.write_text(html, encoding="utf-8")
    grounds, told = {}, []
    for width, scheme in ((1200, "light"), (390, "light"), (390, "dark")):
        view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        view.on("console", lambda message: told.append(message.text))
        view.on("pageerror", lambda error: told.append(str(error)))
        view.on("request", lambda request: told.append(request.url) if request.url != file.as_uri() else None)
        view.goto(file.as_uri())
        view.wait_for_selector("body[data-drawn]", timeout=60_000)
        assert view.evaluate("document.documentElement.scrollWidth") == width
        charts, drawn = view.locator(".chart").count(), view.locator(".chart svg").count()
        assert charts == drawn >= 2 and "owned" not in view.title().replace(HOSTILE, "")
        grounds[scheme] = view.evaluate("getComputedStyle(document.body).backgroundColor")
        kept(view, f"{name}-{width}-{scheme}", tmp_path)
        if (width, scheme) == (390, "dark"):  # the reader's system turns light: the page follows
            view.emulate_media(color_scheme="light")
            view.wait_for_function("getComputedStyle(document.body).backgroundColor === 'rgb(255, 255, 255)'")
        view.close()
    assert told == [] and grounds["dark"] != grounds["light"] == "rgb(255, 255, 255)"
