"""Runs side by side, and in a list: on folders that hold what a training leaves."""

import json

import numpy as np
import pytest

from tfrs_twotower.cli.main import main
from tfrs_twotower.evaluation import PerQuery, write_per_query
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.headline import headline, sentence
from tfrs_twotower.recipe import Recipe

METRICS = {
    "protocol": {"on": "test"}, "test": {"ndcg@10": 0.123},
    "baselines": {"popularity": {"ndcg@10": 0.1}, "ease": {"ndcg@10": 0.119}, "retrieval": {"ndcg@10": 0.2}},
    "beats": {"ease": {"ndcg@10": {"difference": 0.004, "interval": [-0.002, 0.01]}}},
}


@pytest.fixture
def root(tmp_path):
    """Two runs that were asked the same, the newer of them not evaluated; a third that was asked something else."""
    values = {"1": [0.0, 0.5, 0.25, np.nan], "2": [0.5, 1.0, 0.75, np.nan], "3": [0.0, 0.5, 0.25, np.nan]}
    for name, per_query in values.items():
        folder = tmp_path / "runs" / "plain" / name
        (folder / runs.REPORT).mkdir(parents=True)
        runs.write_config(folder, runs.RunConfig(Recipe(name="plain"), "space", "log", 0))
        asked = "other" if name == "3" else "same"
        made = PerQuery({metric: np.array(per_query) for metric in ("ndcg@10", "recall@100")}, asked)
        write_per_query(folder / runs.REPORT, {"model": made}, asked)
    runs.write_json(tmp_path / "runs" / "plain" / "1" / runs.METRICS, METRICS)
    runs.point_latest(tmp_path / "runs" / "plain" / "2")
    return tmp_path / "runs"


def test_runs_are_compared_query_by_query(root, capsys):
    one, two, three = (str(root / "plain" / name) for name in "123")
    assert main(["compare", one, two, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first == {"run": "plain/1", "queries": 3, "ndcg@10": {"value": 0.25}, "recall@100": {"value": 0.25}}
    assert second["ndcg@10"] == {"value": 0.75, "difference": 0.5, "interval": [0.5, 0.5]}
    assert main(["compare", one, two, "--metric", "ndcg@10"]) == 0
    heading, _, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert heading == ["run", "queries", "ndcg@10"]
    assert rows == [["plain/1", "3", "0.2500"], ["plain/2", "3", "0.7500", "+0.5000", "[+0.5000,", "+0.5000]"]]
    for argv, message in (
        ([one], "two runs or more"),
        ([one, two, "--metric", "ndcg@7"], "Did you mean `ndcg@10`?"),
        ([one, three], "same queries and targets"),
    ):
        assert main(["compare", *argv]) == 1 and message in capsys.readouterr().err


def test_runs_are_listed_with_their_headline(root, capsys):
    (root / "plain" / "1" / runs.REFUSED).write_text("{}")
    assert main(["runs", "--runs", str(root)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "  plain/3  was not evaluated: it is training, or was stopped",
        "* plain/2  was not evaluated: it is training, or was stopped",
        "  plain/1  did not pass its gate: ndcg@10 .1230, best baseline ease .1190: +.0040 [-.0020, +.0100], "
        "within chance",
    ]
    assert main(["runs", "--runs", str(root / "none")]) == 0
    assert "There are no runs in" in capsys.readouterr().out


def test_the_headline_says_whether_the_best_baseline_is_beaten():
    found = headline(METRICS, "ndcg@10")
    assert sentence(found) == "ndcg@10 .1230, best baseline ease .1190: +.0040 [-.0020, +.0100], within chance"
    assert sentence({**found, "interval": [0.001, 0.01]}).endswith("[+.0010, +.0100], better")
    assert sentence({**found, "interval": [-0.02, -0.01]}).endswith("worse")
    assert sentence({**found, "interval": None}).endswith("+.0040")
