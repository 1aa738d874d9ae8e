"""The guide "From the TFRS tutorials": each of its models trains, is loaded, and answers from its export."""

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import toy

import tfrs_twotower as tt
from tfrs_twotower.evaluation import EvaluationConfig

ROOT = Path(__file__).parents[1]
_MODELS = ("basic", "context", "deep", "sequential", "both")


@pytest.fixture(scope="module")
def guide(tmp_path_factory):
    """The names that the guide's blocks leave, run one after the other on planted data."""
    frames, _ = toy.planted()
    ratings = frames["interactions"].rename(columns={"item_id": "movie_title"})
    ratings["user_id"] = ratings["user_id"].str.replace("u", "")
    names = {
        "ratings": ratings.assign(user_rating=1.0 + np.arange(len(ratings)) % 5),
        "movies": frames["items"][["item_id"]].rename(columns={"item_id": "movie_title"}), "__name__": __name__,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("guide"))
        patch.setattr(EvaluationConfig, "seconds", lambda self, events: 0)  # tests/evaluation tunes the baselines
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "from_tfrs.md").read_text(), re.DOTALL):
            exec(block, names)
        yield names  # still in the guide's folder, where its runs are


@pytest.mark.parametrize("name", _MODELS)
def test_a_model_of_the_tutorials_learns(guide, name):
    figures = guide[name].evaluate()
    assert figures["test"]["recall@10"] > figures["baselines"]["popularity"]["recall@10"]


@pytest.mark.parametrize("name", _MODELS[:-1])  # the last one serves the models of the first
def test_a_model_of_the_tutorials_serves(guide, name, tmp_path):
    trained = guide[name]
    exported = sorted((trained.directory / "export").glob("[0-9]*"))  # the guide exports its first model itself
    with contextlib.nullcontext() if name == "deep" else toy.two_signatures():  # its items have a model of their own
        version = exported[0] if exported else trained.export(tmp_path / "export")
    assert b"layer_call_and_return_conditional_losses" not in (version / "saved_model.pb").read_bytes()
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    rows = trained.assembly.split.test.row[:4]
    features = trained.assembly.examples.raw_queries(rows)
    nothing = tf.zeros([1, 0], tf.string)
    rest = {"k": tf.constant(5), "exclude_ids": nothing, "allow_ids": nothing, "popularity_beta": tf.constant(0.0)}
    asked = {key: value for key, value in features.items() if key in served.structured_input_signature[1]}
    expected = trained.retriever.recommend(features, *rest.values())
    assert served(**asked, **rest)["ids"].numpy().tolist() == expected[0].numpy().tolist()
    vectors = trained.assembly.query_vectors(rows)  # of the encoded tables, by which it was trained
    np.testing.assert_allclose(trained.assembly.model.query_tower(
        trained.assembly.model.query_tower.encode(features)), vectors, atol=1e-5)


def test_a_run_with_models_of_ones_own_is_loaded_from_its_files(guide):
    trained = guide["context"]
    frames = {"interactions": guide["ratings"], "items": guide["movies"]}
    columns = tt.Columns(item_id="movie_title", context=("user_rating",))
    loaded = tt.load(trained.directory, **frames, columns=columns)
    assert (trained.directory / "layers" / "query_preprocessed_user_id_and_timestamp.keras").is_file()
    assert loaded.recommend("42", k=3).equals(trained.recommend("42", k=3))


def test_a_label_reaches_the_loss_and_no_feature(guide):
    a = guide["both"].assembly
    batch = a.batches.batch(0)
    rows = a.batches.rows(0)
    assert batch["labels"]["user_rating"].tolist() == a.log.context["user_rating"].to_numpy()[rows].tolist()
    assert "user_rating" not in a.model.query_tower.inputs()
