"""The benchmarks' shared code: timing in turn, a record that reads back, a page with stable text."""

import importlib
import json
import pkgutil
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bench
from bench import (
    bench_defaults,
    bench_recipes,
    common,
    logs,
    movielens_1m,
    results_md,
    results_summary,
    shape,
    walks,
)
from tfrs_twotower import columns, errors, recipes
from tfrs_twotower.configuration import override
from tfrs_twotower.data import Ragged
from tfrs_twotower.evaluation import DotScorer, Popularity, evaluate


def test_every_benchmark_finds_what_it_imports():
    names = [module.name for module in pkgutil.iter_modules(bench.__path__) if module.name.startswith("bench_")]
    assert len(names) > 15
    for name in names:
        importlib.import_module(f"bench.{name}")


def test_interleaved_runs_in_turn_and_times_only_the_rounds():
    calls = []
    functions = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    seconds = common.interleaved(functions, rounds=3, warmup=2)
    assert "".join(calls) == "aabb" + "ababab"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}
    assert all(value >= 0 for values in seconds.values() for value in values)


def test_median():
    assert common.median([9.0, 1.0, 2.0]) == 2.0


def test_table_aligns_numbers_to_the_right_and_keeps_all_keys():
    figures = [{"what": "a", "rows": 1000000, "seconds": 0.123456}, {"what": "bbb", "rows": 5, "ratio": 2.5}]
    assert common.table(figures).splitlines() == [
        "what       rows  seconds  ratio",
        "----  ---------  -------  -----",
        "a     1,000,000   0.1235      –",
        "bbb           5        –    2.5",
    ]


def test_record_writes_the_figures_with_their_circumstances(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    figures = [{"what": "x", "n": np.int64(3), "seconds": np.float32(0.5)}]
    result = json.loads(common.record("some_name", figures).read_text())
    assert result["figures"] == common.recorded("some_name") == [{"what": "x", "n": 3, "seconds": 0.5}]
    assert common.recorded("another") == []
    assert list(result) == ["name", "command", "machine", "date", "versions", "figures"]
    assert result["versions"]["tensorflow"].startswith("2.20.")
    assert result["machine"]["cores"] >= 1
    assert str(tmp_path) not in result["command"]
    assert "seconds" in capsys.readouterr().out


def test_record_refuses_a_figure_that_is_not_finite(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    with pytest.raises(ValueError, match="Out of range float"):
        common.record("some_name", [{"seconds": float("nan")}])
    assert not list(tmp_path.iterdir())


def test_the_page_has_one_section_a_record_in_the_order_of_names():
    result = {
        "name": "b",
        "command": "python -m bench.bench_b",
        "machine": {"cpu": "some CPU", "cores": 2, "memory_gib": 24.0, "system": "Linux"},
        "date": "2026-01-02",
        "versions": {"python": "3.11.7", "scann": None},
        "figures": [{"what": "x|y", "n": 1234}],
    }
    page = results_md.markdown([result, {**result, "name": "a"}])
    assert page.index("## a") < page.index("## b")
    section = page[page.index("## b"):]
    assert section == (
        "## b\n\n`python -m bench.bench_b`\n\n"
        "2026-01-02; some CPU, 2 cores, 24.0 GiB; python 3.11.7.\n\n"
        "| what | n |\n| --- | --- |\n| x\\|y | 1,234 |\n"
    )


def test_the_summary_counts_the_worst_seed_of_each_case():
    def row(log, seed, verdict, metric="ndcg@10"):
        return {"log": log, "split": "Temporal", "seed": seed, "metric": metric, "against the best": verdict}

    figures = [row("a", 0, "above"), row("a", 1, "above"), row("b", 0, "above"), row("b", 1, "below"),
               row("c", 0, "within the interval"), row("c", 0, "above", "recall@100")]
    result = {"name": "defaults", "command": "python -m bench.bench_defaults --seeds 2", "figures": figures}
    lines = results_summary.summary([result, {"name": "unknown"}])
    assert [line for line in lines if line.startswith("| Is `twotower train plain`")] == [
        "| Is `twotower train plain` better than the best of six baselines, on public logs? | NDCG@10: above in 1 of 3 "
        "cases, level in 1, below in 1. Recall@100: above in 1 of 1 cases, level in 0, below in 0 (the worst seed "
        "counts) | [defaults](#defaults): `python -m bench.bench_defaults` |"
    ]
    assert results_summary.summary([{"name": "unknown"}]) == []


def test_what_became_of_the_loops_experiment():
    days = [{"day": 8, "what happened": "a against b: +0.1 [-0.1, +0.3]; updated"},
            {"day": 9, "what happened": "a against b: +0.2 [+0.1, +0.3]; decided for a; updated"}]
    assert results_summary._decided(days) == "The experiment was decided on day 9, for a"
    assert results_summary._decided(days[:1]) == "The experiment was not decided"


def test_the_page_on_disk_is_the_one_of_the_records():
    records = [json.loads(path.read_text()) for path in common.RESULTS.glob("*.json")]
    page = (common.RESULTS.parent / "RESULTS.md").read_text()
    assert page == results_md.markdown(records)
    assert page.index("## Summary") < page.index("## How to read") < 8000


def test_five_core_takes_out_what_becomes_rare_on_the_way():
    everyone = [(user, item) for user in range(5) for item in range(5)]
    rare = [(0, 9), (1, 9), (2, 9), (3, 9), (7, 9)]  # item 9 has five users until user 7, with one event, is gone
    log = pd.DataFrame(everyone + rare, columns=["user_id", "item_id"])
    assert movielens_1m.five_core(log).values.tolist() == [list(pair) for pair in everyone]


def test_a_log_that_is_not_here_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TWOTOWER_LOGS", str(tmp_path))
    with pytest.raises(SystemExit, match="anime.zip is not here.*TWOTOWER_LOGS"):
        logs.anime()
    (tmp_path / "sequences").mkdir()
    (tmp_path / "sequences" / "Yelp.txt").write_text("7 5 4 5\n8 4\n")
    assert logs.yelp().interactions.to_numpy().tolist() == [[7, 5, 1], [7, 4, 2], [7, 5, 3], [8, 4, 1]]


def test_a_row_names_the_best_baseline_and_what_is_above_by_more_than_the_interval():
    counts, wanted = np.arange(200), np.arange(200)  # each query wants one item
    half = np.eye(200) * np.where(wanted % 2, 1, -1)[:, None]  # finds every second one, and ranks the others last

    def evaluated(scorer):
        return evaluate(scorer, Ragged.from_lists(wanted[:, None]), None, counts, ks=(10, 100))

    perfect, every_second = evaluated(DotScorer(np.eye(200), np.eye(200))), evaluated(DotScorer(half, np.eye(200)))
    popularity = evaluated(Popularity(counts, 200))
    above = bench_defaults.row("recall@100", perfect, {"popularity": popularity, "every second": every_second})
    assert (above["model"], above["best baseline"], above["against the best"]) == (1.0, "popularity", "above")
    assert above["popularity"].startswith("0.5000: +0.5000 [+0.4")
    others = {"popularity": popularity, "twin": perfect}
    assert bench_defaults.row("ndcg@10", perfect, others)["against the best"] == "within the interval"
    assert bench_defaults.row("ndcg@10", popularity, {"twin": perfect})["against the best"] == "below"


def test_the_summary_counts_each_log_by_its_worst_seed():
    verdicts = [("a", "above"), ("a", "within the interval"), ("b", "above"), ("c", "below"), ("c", "above")]
    rows = [{"log": log, "metric": metric, "against the best": verdict}
            for log, verdict in verdicts for metric in bench_defaults.METRICS]
    assert list(bench_defaults.summary(rows)) == [
        f"{metric} against the best baseline, 3 logs, by the worst seed: above: 1, within the interval: 1, below: 1"
        for metric in ("ndcg@10", "recall@100")
    ]


def test_what_was_chosen_is_the_settings_that_differ():
    given = override(recipes.load("plain"), ["race=null"])
    assert bench_defaults.changes(given, given) == ""
    trained = override(given, ["model.dim=128", "model.query_encoder.widths=[]"])
    assert bench_defaults.changes(given, trained) == "model.dim=128; model.query_encoder.widths=[]"


def test_a_recipe_below_a_baseline_gets_a_note_that_names_it(monkeypatch):
    monkeypatch.setitem(bench_recipes._CAUSES, "100k", {"fm": "no crosses"})
    figures = {"popularity": (0.1, 0.1), "EASE": (0.2, 0.1), "fm": (0.1, 0.0), "mind": (0.3, 0.0), "sasrec": (0.3, 0.1)}
    rows = {model: {"model": model, "recall@10": r, "ndcg@10": n, "note": "old"} for model, (r, n) in figures.items()}
    rows["sasrec"]["retrieval ndcg@10"] = 0.2
    notes = {row["model"]: row.get("note") for row in bench_recipes.noted("100k", rows)}
    assert notes == {
        "popularity": None, "EASE": None, "fm": "below popularity, EASE: no crosses",
        "mind": "below popularity, EASE: cause not sought", "sasrec": "below its retrieval alone: cause not sought",
    }


def test_the_shape_of_a_package_counts_files_functions_and_annotations(tmp_path):
    room = tmp_path / "tfrs_twotower" / "room"
    room.mkdir(parents=True)
    (room.parent / "__init__.py").write_text('"""One line."""\n')
    (room / "one.py").write_text(
        "def f(x: int, *rest: int) -> int:\n    return x\n\n\nclass A:\n    def g(self, y) -> int:\n        z = y\n"
        "        return z\n\n    def h(self, y: int):\n        pass\n"
    )
    assert shape.shape(tmp_path) == {
        "files": 2, "lines": 12, "rooms": 2, "median file": 6, "longest file": "room/one.py: 11", "functions": 3,
        "median function": 2, "longest function": "g: 3", "annotated": "33.3%",
    }


def test_a_walk_has_the_files_whose_functions_are_called_in_all_threads_and_no_others():
    try:
        trace = walks.Trace()
        with trace.on():
            thread = threading.Thread(target=errors.invalid, args=("k", "be 1", 2, "Send 1."))
            thread.start()
            thread.join()
            columns.safe("a b")
            errors.nearest("a", ["b"])
        recipes.names()
        assert trace.take() == ["errors.py", "columns.py"] and trace.take() == []
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def test_the_walks_of_this_package_begin_and_end_where_they_should():
    found = shape.walks(Path(bench.__file__).parents[1])
    assert list(found) == ["a vector", "an answer"]
    assert found["a vector"][0] == "data/ingest.py" and "exporting/signatures.py" in found["a vector"]
    assert {"serving/rest.py", "serving/predictor.py", "serving/model.py"} <= set(found["an answer"])
    assert not any(name.startswith(("features/", "towers/", "losses/")) for name in found["an answer"])
