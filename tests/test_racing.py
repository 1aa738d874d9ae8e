"""What is raced on which log, who wins, and a race that is stopped in the middle."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import tfrs_twotower  # noqa: F401
from tfrs_twotower import recipes
from tfrs_twotower.configuration import override
from tfrs_twotower.data import Columns, Frames, LeaveLastOut, ingest
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import History, Id, Sequence
from tfrs_twotower.losses import FullSoftmax, SampledSoftmax
from tfrs_twotower.pipeline import racing, runs
from tfrs_twotower.recipe import Race
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.towers import HSTU, MLP
from tfrs_twotower.training import NeighbourFit


def _circle(users=120, items=30):
    """Each user goes three places on a circle of items, three times from anywhere: the last item says what comes."""
    rng = np.random.default_rng(0)
    return pd.DataFrame([
        (user, (start + step) % items, 3 * leg + step)
        for user in range(users) for leg, start in enumerate(rng.integers(0, items, 3)) for step in range(3)
    ], columns=["user_id", "item_id", "timestamp"])


def _plain(*assignments):
    recipe = dataclasses.replace(recipes.load("plain"), split=LeaveLastOut())
    return override(recipe, ["training.epochs=4", "evaluation.bootstrap=0", *assignments])


def _candidates(columns=Columns(), log=None):
    recipe = recipes.load("plain") if columns.timestamp is None else _plain()
    log = ingest(Frames(_circle() if log is None else log, columns=columns))[0]
    split = recipe.split if log.timed else racing.without_times(recipe).split
    return racing.candidates(recipe, log, split.split(log))


def test_a_log_with_times_is_read_in_order_and_pooled():
    found = _candidates()
    assert list(found) == ["sequence", "pooled"]
    assert isinstance(found["sequence"].schema.query[0], Sequence)
    assert found["sequence"].schema.query[0].length == 10  # 7 training events a user; 10 is the least
    assert isinstance(found["sequence"].model.query_encoder, HSTU)
    assert [type(f) for f in found["pooled"].schema.query] == [History, Id]
    assert found["pooled"].model.query_encoder == MLP(widths=())
    assert isinstance(found["pooled"].model.loss, FullSoftmax)
    assert all(recipe.race is None for recipe in found.values())


def test_a_log_without_times_has_no_order_to_read():
    found = _candidates(Columns(timestamp=None))
    assert list(found) == ["pooled"]
    assert found["pooled"].model.item_start.decay == 1.0


def test_a_large_catalogue_is_sampled(monkeypatch):
    monkeypatch.setattr(racing, "_WHOLE_CATALOGUE", 11)
    found = _candidates()["sequence"].model
    assert isinstance(found.loss, SampledSoftmax) and found.negatives[0].count == 1024


def test_a_larger_catalogue_has_no_neighbours(monkeypatch):
    assert _candidates()["pooled"].model.neighbours is not None
    monkeypatch.setattr(racing, "_NEIGHBOURS", 29)
    assert all(recipe.model.neighbours is None for recipe in _candidates().values())


@pytest.mark.parametrize("seconds, stops", [(0.0, True), (1e6, False)])
def test_a_candidate_stops_after_one_epoch_if_a_second_would_not_fit(seconds, stops):
    clock, model = racing._Stop(seconds), SimpleNamespace(stop_training=False)
    clock.set_model(model)
    clock.on_epoch_end(0)
    assert model.stop_training == stops


def test_the_time_grows_with_the_log():
    assert racing.seconds_for(100_000) == pytest.approx(240)
    assert racing.seconds_for(1_000_000) == pytest.approx(1800, rel=0.01)
    assert racing.seconds_for(100) == racing.seconds_for(25_000)


def test_baselines_have_a_share_of_a_short_time():
    recipe = _plain()
    assert racing._with_baselines_in(48.0, recipe, 100_000) == recipe  # the default is 43 s
    assert racing._with_baselines_in(12.5, recipe, 100_000).evaluation.baseline_seconds == 12
    asked = _plain("evaluation.baseline_seconds=90")
    assert racing._with_baselines_in(12.5, asked, 100_000) == asked


def test_a_race_says_what_its_time_was_too_short_for(tmp_path, monkeypatch, capsys):
    def trained(model, batches, *args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(racing, "fit", trained)
    monkeypatch.setattr(racing, "_TERMS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        Recommender(_plain("race.minutes=2"), _circle(), directory=tmp_path / "run").fit()
    said = "The 0 s for choosing the terms of the score were too short for other half-lives of popularity, other half-"
    said += "lives of repeats, neighbours. A larger --minutes tries them."
    assert said in capsys.readouterr().out


def test_minutes_are_above_zero():
    with pytest.raises(ConfigError, match="Race.minutes"):
        Race(minutes=0)


@pytest.mark.parametrize("assignment, name", [
    ("model.dim=32", "model.dim"), ("training.batch_size=64", "training.batch_size"),
    ('schema={"type": "Schema", "query": [{"type": "Id", "column": "user_id"}], "candidate": '
     '[{"type": "Id", "column": "item_id"}]}', "schema"),
])
def test_what_the_race_chooses_cannot_be_given(assignment, name):
    with pytest.raises(ConfigError, match=f"{name}.*race=null"):
        _plain(assignment)
    _plain(assignment, "race=null")


def test_order_wins_on_a_circle_and_a_stopped_race_goes_on(tmp_path, monkeypatch, capsys):
    tried, begun = racing._tried, []

    def stopped(name, *args):
        begun.append(name)
        if begun == ["sequence", "pooled"]:
            raise KeyboardInterrupt
        return tried(name, *args)

    monkeypatch.setattr(racing, "_tried", stopped)
    with pytest.raises(KeyboardInterrupt):
        Recommender(_plain(), _circle(), directory=tmp_path / "run").fit(verbose=0)
    first = json.loads((tmp_path / "run" / racing.RESULT).read_text())["candidates"]
    with monkeypatch.context() as patch:  # neighbours are learned once: the other candidate and the run read them
        patch.delattr(NeighbourFit, "vectors")
        recommender = Recommender(_plain(), _circle(), directory=tmp_path / "run").fit(verbose=2)
    assert begun == ["sequence", "pooled", "pooled"]  # what had ended is not trained again
    result = json.loads((tmp_path / "run" / racing.RESULT).read_text())
    assert result["winner"] == "sequence" and result["candidates"]["sequence"] == first["sequence"]
    assert result["candidates"]["sequence"]["best"] > result["candidates"]["pooled"]["best"]
    assert "sequence goes on, up to epoch" in capsys.readouterr().out
    kept = runs.read_config(tmp_path / "run").recipe
    assert kept.race is None and kept.training.epochs == result["epochs"] <= 4
    assert kept == recommender.recipe
    assert not (tmp_path / "run" / racing.FOLDER).exists()
    assert recommender.evaluate()["test"]["recall@10"] > 0.8
    again = Recommender.load(tmp_path / "run", interactions=_circle())
    assert again.recommend(0)["item_id"].tolist() == recommender.recommend(0)["item_id"].tolist()


def test_the_winner_is_the_better_one_in_head_and_depth_together():
    found = {"a": {"best": 0.10, "recall": 0.40}, "b": {"best": 0.098, "recall": 0.50}}
    assert racing._winner(found) == "b"  # 0.98 + 1 against 1 + 0.8
    assert racing._winner({**found, "c": {"best": 0.13, "recall": 0.41}}) == "c"  # 1 + 0.82 against 0.75 + 1
    assert racing._winner({"only": {"best": 0.0, "recall": 0.0}}) == "only"
