"""The search on planted data, with a tiny budget: its trials, its outcome, going on with it."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import toy
from clocks import set_clock

from tfrs_twotower import progress, recipes, tuning
from tfrs_twotower.cli.main import main
from tfrs_twotower.configuration import override
from tfrs_twotower.data import ingest, synthetic
from tfrs_twotower.errors import ConfigError, TrainingError
from tfrs_twotower.models import Neighbours
from tfrs_twotower.pipeline.assembling import assemble, completed
from tfrs_twotower.pipeline.score_terms import ScoreTerms
from tfrs_twotower.tuning import Budget, Choice, Range, _Done, _Search, _study, _Watch, tune

optuna = pytest.importorskip("optuna", reason="needs the extra tune")

# The recipe's own rate is one at which nothing is learned; at the others the planted answer is found.
RATE = ("training.optimizer.learning_rate",)
SPACE = (Range(RATE, 0.01, 0.03), Choice(("model.candidate_encoder.widths",), ((32,), (16,))))


@pytest.fixture(scope="module")
def log():
    return ingest(synthetic(users=80, items=40, clusters=4, events=20, seed=0)[0])[0]


@pytest.fixture(scope="module")
def tiny():
    return override(toy.recipe(epochs=2, optimizer=toy.LazyAdamConfig(1e-7)), ["evaluation.ks=[10]", "model.dim=8"])


@pytest.fixture(scope="module")
def study(log, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return folder, tune(tiny, log, folder, SPACE, Budget(trials=2), verbose=0)


def test_the_better_rate_is_found_and_the_recipes_own_settings_come_first(study):
    _, found = study
    trials = found.trials
    assert len(trials) == 2 and (trials["epochs"] == 2).all()
    assert trials[RATE[0]][0] == 1e-7 and trials["model.candidate_encoder.widths"][0] == "[32]"
    assert found.recipe.training.optimizer.learning_rate == trials[RATE[0]][1] > 1e-4
    assert found.recipe.name == "toy-tuned" and found.best == 1
    assert found.value == trials["value"][1] > 1.5 * trials["value"][0]


def test_the_file_is_a_recipe_that_gives_the_value_found(study, log):
    _, found = study
    recipe = recipes.load(str(found.path))
    assert recipe == found.recipe and recipe.schema is not None
    assert assemble(recipe, log).model.query_tower.dim == 8


def test_the_same_call_goes_on_up_to_the_trials_asked_for(study, log, tiny):
    folder, found = study
    again = tune(tiny, log, folder, SPACE, Budget(trials=2), verbose=0)
    pd.testing.assert_frame_equal(again.trials, found.trials)
    more = tune(tiny, log, folder, SPACE, Budget(trials=3), verbose=0)
    pd.testing.assert_frame_equal(more.trials.iloc[:2], found.trials)
    assert len(more.trials) == 3


def test_trials_choose_the_terms_of_the_score_once(log, tiny, tmp_path, monkeypatch):
    """Unless they ask for other terms."""
    asked, choose = [], ScoreTerms.choose
    monkeypatch.setattr(
        ScoreTerms, "choose", lambda terms, *rest: asked.append(terms.settings) or choose(terms, *rest)
    )
    model = dataclasses.replace(tiny.model, neighbours=Neighbours(penalties=(10.0, 1000.0), dim=(4, 8)))
    recipe = completed(dataclasses.replace(tiny, model=model), log)
    search = _Search(optuna, recipe, SPACE, log, tmp_path, float("inf"), progress.unseen)
    first = search._assembled(recipe)
    again = search._assembled(override(recipe, [f"{RATE[0]}=0.02", "model.dim=4"]))
    assert again.terms.settings == dataclasses.replace(first.terms.settings, dim=4)
    assert again.terms.neighbours is first.terms.neighbours
    search._assembled(override(recipe, ["model.popularity_weights=[0.5]"]))
    assert [settings.neighbours.has_choices for settings in asked] == [True, False, True]


@pytest.mark.parametrize("other", [
    "split.validation=0.3", "training.seed=5", "training.monitor=recall@10", 'schema.query=[{"type": "Id", "column": '
    '"user_id"}, {"type": "History", "length": 10}, {"type": "Time", "column": "timestamp"}]',
])
def test_trials_with_other_events_to_learn_from_choose_terms_of_their_own(log, tiny, tmp_path, other):
    """Neighbours that were learned from another trial's training events may know this one's validation."""
    model = dataclasses.replace(tiny.model, neighbours=Neighbours(dim=4))
    recipe = completed(dataclasses.replace(tiny, model=model), log)
    search = _Search(optuna, recipe, SPACE, log, tmp_path, float("inf"), progress.unseen)
    first = search._assembled(recipe)
    assert first.terms.neighbours.items.any()
    trial = override(recipe, [other])
    again, apart = search._assembled(trial), assemble(trial, log)
    assert again.terms.neighbours is not first.terms.neighbours
    np.testing.assert_allclose(again.terms.neighbours.items, apart.terms.neighbours.items, atol=1e-4)


def test_another_recipe_or_space_needs_another_folder(study, log, tiny):
    folder, _ = study
    with pytest.raises(ConfigError, match="a study of another recipe and space"):
        tune(override(tiny, ["model.dim=4"]), log, folder, SPACE[:1], Budget(trials=2), verbose=0)


def test_a_trial_that_was_cut_off_is_run_again(log, tiny, tmp_path, monkeypatch):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("tfrs_twotower.tuning.fit", stopped)
        tune(tiny, log, tmp_path, SPACE, Budget(trials=1), verbose=0)
    study = optuna.load_study(study_name="toy", storage=f"sqlite:///{tmp_path}/study.db")
    study.ask({"killed": optuna.distributions.FloatDistribution(0, 1)})  # as a process killed at once leaves it
    found = tune(tiny, log, tmp_path, SPACE, Budget(trials=1), verbose=0)
    assert found.trials["state"].tolist() == ["interrupted", "interrupted", "done", "waiting"]
    assert found.trials[RATE[0]].tolist()[:3:2] == [1e-7, 1e-7]


def test_a_hopeless_trial_is_cut_short(tmp_path, tiny, log):
    """Below the median of four trials after the third epoch."""
    study = _study(optuna, tmp_path / "study.db", tiny, SPACE, log)
    for _ in range(4):
        trial = study.ask()
        for epoch in range(4):
            trial.report(0.5, epoch)
        study.tell(trial, 0.5)
    settings = ("val_ndcg@10", 4, float("inf"), optuna.TrialPruned, progress.unseen)
    hopeless, good = (_Watch(study.ask(), *settings) for _ in range(2))
    for epoch in range(2):
        hopeless.on_epoch_end(epoch, {"val_ndcg@10": 0.1})
    with pytest.raises(optuna.TrialPruned):
        hopeless.on_epoch_end(2, {"val_ndcg@10": 0.1})
    for epoch in range(4):
        good.on_epoch_end(epoch, {"val_ndcg@10": 0.6})


def test_out_of_time_the_epoch_is_finished_and_counts(log, tiny, tmp_path):
    found = tune(override(tiny, ["training.epochs=50"]), log, tmp_path, SPACE, Budget(9, minutes=1e-3), verbose=0)
    assert found.trials[["epochs", "state"]].to_numpy().tolist() == [[1, "done"]]


def test_settings_that_do_not_go_together_fail_a_trial_not_the_search(log, tiny, tmp_path):
    wrong = override(tiny, ['model.query_encoder={"type": "SASRec"}'])
    with pytest.raises(TrainingError, match="No trial came to an end: A sequence encoder needs one Sequence"):
        tune(wrong, log, tmp_path, SPACE[:1], Budget(trials=1), verbose=0)
    study = optuna.load_study(study_name="toy", storage=f"sqlite:///{tmp_path}/study.db")
    assert [t.state.name for t in study.trials] == ["PRUNED"]


def test_the_verb(tmp_path, capsys):
    frames, _ = toy.planted()
    frames["interactions"].to_parquet(tmp_path / "log.parquet")
    search = ["--search", "training.optimizer.learning_rate=[0.001, 0.02]"]
    quick = [x for name in ("training.epochs=1", "evaluation.ks=[10]", "model.dim=8") for x in ("--set", name)]
    argv = ["tune", "plain", "--interactions", str(tmp_path / "log.parquet"), *quick, "--trials", "1", *search]
    assert main([*argv, "--to", str(tmp_path / "tuning")]) == 0
    out = capsys.readouterr().out
    assert "trial 0: " in out and f"twotower train {tmp_path}/tuning/recipe.json" in out
    assert json.loads((tmp_path / "tuning" / "recipe.json").read_text())["name"] == "plain-tuned"
    assert main(["tune", "plain", "--search", "model.dim=x"]) == 1
    assert main(["train", str(tmp_path / "none.json")]) == 1
    assert "cannot be read as a recipe" in capsys.readouterr().err


def test_a_bar_has_the_share_of_the_trials_or_of_the_time(monkeypatch):
    now, told = [100.0], []
    set_clock(monkeypatch, tuning, monotonic=lambda: now[0])
    done = _Done(lambda share, said: told.append((round(share, 3), said)), trials=4, seconds=120)
    study = optuna.create_study(direction="maximize")
    now[0] = 112.0
    done.part(0.8)  # of the first of four trials; a tenth of the time
    study.tell(study.ask(), 0.25)
    done.trial(study, study.trials[-1])
    now[0] = 208.0
    done.part(0.5)
    now[0] = 250.0  # the epoch that ran when the time was over
    done.part(1.0)
    first, second = "trial 1 of 4, at most 2 minutes", "trial 2 of 4, at most 2 minutes, best so far 0.2500"
    assert told == [(0, first), (0.2, first), (0.05, second), (0.65, second), (0.1, second)]


def test_a_bar_says_that_no_trial_has_a_value(monkeypatch):
    told = []
    done = _Done(lambda share, said: told.append(said), trials=4, seconds=math.inf)
    study = optuna.create_study(direction="maximize")
    study.tell(study.ask(), state=optuna.trial.TrialState.PRUNED)
    done.trial(study, study.trials[-1])
    assert told[-1] == "trial 2 of 4, best so far none"
