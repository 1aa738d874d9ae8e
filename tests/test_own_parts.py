"""Classes of one's own, from a module outside the package, all the way from training to an answer."""

import contextlib
import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import own_parts
import own_store
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tfrs_twotower import recipes
from tfrs_twotower.cli.main import main
from tfrs_twotower.configuration import Layered, config, from_dict, override, to_dict
from tfrs_twotower.data import ingest
from tfrs_twotower.errors import ConfigError, TrainingError
from tfrs_twotower.online import StoreError, open_cache, open_stores
from tfrs_twotower.pipeline.assembling import assemble
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.sampling import Negatives, NoCorrection
from tfrs_twotower.serving import Server
from tfrs_twotower.towers import Encoder, build_encoder

_FILE = own_parts.__file__


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of `twotower train own_parts.py`."""
    root = tmp_path_factory.mktemp("own")
    assert main(["train", _FILE, "--runs", str(root), "--set", "index.k=10", "--no-refit"]) == 0
    return (root / "own" / "latest").resolve()


@pytest.fixture(scope="module")
def loaded(run):
    return Recommender.load(run)


def test_the_run_names_each_class_by_its_module(run):
    recipe = json.loads((run / "config.json").read_text())["recipe"]
    model = recipe["model"]
    parts = (recipe["source"], recipe["split"], recipe["schema"]["candidate"][1], model["query_encoder"], model["loss"],
             model["negatives"][1], model["auxiliary"][0], model["reranker"])
    assert recipe["index"]["kind"] == {"type": "own_parts.Parts", "count": 3}
    names = ["Planted", "LastShare", "Steps", "Gated", "Smoothed", "Rare", "Short", "Product"]
    assert [part["type"] for part in parts] == [f"own_parts.{name}" for name in names]
    assert from_dict(recipe) == recipes.load(_FILE).__class__(**vars(from_dict(recipe)))


def test_it_learns_the_planted_clusters(run):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["recall@10"] > 1.3 * metrics["baselines"]["popularity"]["recall@10"]


def test_another_process_loads_it(run):
    """`--import` says where the classes are; without it the message does."""
    asked = [sys.executable, "-m", "tfrs_twotower", "recommend", str(run), "u1", "-k", "3", "--json"]
    found = subprocess.run([*asked, "--import", _FILE], capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    assert len(json.loads(found.stdout)) == 3
    refused = subprocess.run(asked, capture_output=True, text=True, timeout=300)
    assert refused.returncode == 1
    assert "`own_parts.Planted` cannot be imported" in refused.stderr and "--import FILE.py" in refused.stderr


def test_the_exported_model_answers_as_the_run_does(run, loaded):
    (version,) = (run / "export").glob("[0-9]*")
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    a = loaded.assembly
    raw = a.examples.raw_queries(a.split.test.row[:5])
    none = tf.zeros([1, 0], tf.string)
    rest = {"k": tf.constant(10), "exclude_ids": none, "allow_ids": none, "popularity_beta": tf.constant(0.0)}
    found = served(**{name: raw[name] for name in served.structured_input_signature[1] if name in raw}, **rest)
    expected = loaded.retriever.recommend(raw, tf.constant(10), none, none, tf.constant(0.0))
    assert found["ids"].numpy().tolist() == expected[0].numpy().tolist()
    np.testing.assert_allclose(found["scores"], expected[1], atol=1e-4)


def test_the_source_and_the_split_are_ones_own(loaded):
    log, split = loaded.assembly.log, loaded.assembly.split
    assert len(log) == 200 * 40 and log.users["user_id"][0].as_py() == "u0"
    assert len(split.train) == 200 * (40 - 8) and len(split.test) == len(split.validation) == 200
    assert all(len(t) <= 4 for t in np.split(split.test.targets.values, split.test.targets.offsets[1:-1]))


def test_the_feature_keeps_what_it_adapted(loaded):
    field = loaded.assembly.model.candidate_tower.fields[1]
    prices = np.array(loaded.assembly.log.items["price"].to_pylist())
    assert field._scale == pytest.approx(prices.mean())
    found = field.encode({"price": tf.constant([0.0, 0.6, 1.1]) * prices.mean()})["above"]
    assert found.numpy().tolist() == [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]


def test_the_negatives_are_drawn_by_its_distribution(loaded):
    counts, drawn = loaded.assembly.train_counts, loaded.assembly.model.objective.negatives._drawn[0]
    expected = 64 * own_parts.Rare().probabilities(counts)
    np.testing.assert_allclose(drawn.expected(loaded.assembly.catalogue), expected, rtol=1e-5)
    seen = np.bincount(drawn.positions(loaded.assembly.model.objective.negatives._draws), minlength=len(counts))
    assert seen.sum() == 64 and seen[np.argmax(counts)] <= 5


def test_the_encoder_the_losses_and_the_reranker_are_in_the_model(loaded):
    model = loaded.assembly.model
    assert type(model.query_tower.encoder) is own_parts.GatedLayer
    assert isinstance(model.objective.task.loss, own_parts.Smoothed)
    assert type(loaded.assembly.second_stage._reranker) is own_parts.ProductReranker
    assert any(isinstance(layer, own_parts.ShortLoss) for layer in model.auxiliary)


def test_the_index_is_in_the_export(run, loaded):
    (version,) = (run / "export").glob("[0-9]*")
    found = json.loads((version / "manifest.json").read_text())["index"]
    assert (found["kind"], found["settings"]) == ("own_parts.Parts", {"kind": "parts", "parts": 3})
    assert found["recall@10"] == 1.0 and found["memory_bytes"] == 4 * loaded.assembly.candidate_vectors().size
    assert isinstance(loaded.retriever.index, own_parts.PartsIndex)


def test_a_store_by_its_scheme_or_its_class_serves(run, loaded):
    """`own_store.py` keeps users in this process."""
    assert main(["load", str(run), "--store", "memory:own", "--import", own_store.__file__]) == 0
    assert len(own_store.Memory.named["own"][1].users) == 200
    a = loaded.assembly
    user = a.log.users["user_id"][0].as_py()
    seen = {a.log.items["item_id"][int(row)].as_py() for row in a.log.item[a.log.user == 0]}
    with contextlib.closing(open_stores("own_store.Memory:own")) as stores:
        assert {event.item_id for event in stores.history.last([user], 1000)[0]} == seen
        cache, asked = open_cache("memory:own"), {"user_id": [user], "k": np.int32(5)}
        with Server(run / "export", rest_port=0, grpc_port=0, stores=stores, cache=cache) as server:
            found = server.predictor.predict("", asked)["ids"][0]
    assert [item.decode() for item in found] == loaded.recommend([user], 5)["item_id"].tolist()


@pytest.mark.parametrize(("address", "message"), [
    ("own_store.MemoryCache:x", "must be a subclass of `StoreKind`"), ("own_store.Nothing:x", "cannot be imported"),
    ("no_such_module.Store:x", "cannot be imported.*--import"), ("ftp://host", "A store's address must be sqlite:PATH"),
])
def test_what_is_no_store(address, message):
    with pytest.raises(StoreError, match=message):
        open_stores(address)


def test_a_store_that_keeps_no_vectors():
    with pytest.raises(StoreError, match="SqliteStore keeps no vectors"):
        open_cache("sqlite:x.db")


@pytest.mark.parametrize(("name", "message"), [
    ("nowhere.py", "must be a Python file or a module's name.*no such file"),
    ("no_such_module_at_all", "cannot be imported"),
])
def test_a_module_that_is_not_there(name, message, capsys):
    assert main(["recommend", "runs/x", "1", "--import", name]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_a_file_that_has_an_installed_modules_name(tmp_path, capsys):
    shutil.copy(_FILE, tmp_path / "random.py")
    assert main(["train", str(tmp_path / "random.py")]) == 1
    assert "has the name of another module" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "code", "message"), [
    ("empty_parts.py", "x = 1", "has no function `recipe`"),
    ("other_parts.py", "def recipe(): return {'name': 'x'}", "must return a `Recipe`. Received"),
    ("my.parts.py", "", "must be a file that Python can import.*Rename it"),
])
def test_a_file_that_holds_no_recipe(name, code, message, tmp_path, capsys):
    (tmp_path / name).write_text(code + "\n")
    assert main(["train", str(tmp_path / name)]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_a_class_that_was_changed_since_the_training_is_refused(run, monkeypatch):
    """Its weights are not in the checkpoint: it would answer by random ones."""

    def renamed(self, settings, seed=0):
        tf.keras.layers.Layer.__init__(self, name="gated")
        self._dense = tf.keras.layers.Dense(settings.width)
        self._other_gate = tf.keras.layers.Dense(settings.width, "sigmoid")

    def call(self, embeddings, training=False):
        values = tf.concat(embeddings, axis=-1)
        return self._dense(values) * self._other_gate(values)

    monkeypatch.setattr(own_parts.GatedLayer, "__init__", renamed)
    monkeypatch.setattr(own_parts.GatedLayer, "call", call)
    with pytest.raises(TrainingError, match="does not hold `model/.*encoder/_other_gate.*changed since"):
        Recommender.load(run)


def test_an_encoder_without_a_layer_says_what_it_lacks():
    @config
    class Bare(Encoder):
        width: int = 3

    assert issubclass(Bare, Layered) and "test_own_parts." in to_dict(Bare())["type"]
    with pytest.raises(ConfigError, match="`Bare` has no layer. Decorate its Keras layer with @layer_of"):
        build_encoder(Bare())
    recipe = recipes.load(_FILE)
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, query_encoder=Bare()))
    with pytest.raises(ConfigError, match="`Bare` has no layer"):
        assemble(recipe, ingest(recipe.source)[0])


@pytest.mark.parametrize("found", [[1.0, 1.0, 1.0], [1.5, -0.25, -0.25], [np.nan] * 3, [0.5, 0.5]])
def test_probabilities_that_are_none(found):
    @config
    class Wrong(own_parts.Rare):
        def probabilities(self, counts):
            return np.array(found)

    with pytest.raises(ConfigError, match="Wrong.probabilities.*sum to 1"):
        Negatives([Wrong()], NoCorrection(), np.arange(3), np.ones(3, int), 4)
    with pytest.raises(ConfigError, match="Rare.count.*at least 1"):
        Negatives([own_parts.Rare(count=0)], NoCorrection(), np.arange(3), np.ones(3, int), 4)


@pytest.mark.parametrize(("assignment", "expected"), [("schema=null", None), ("name=other", "other")])
def test_a_recipe_with_a_live_layer_takes_assignments(assignment, expected):
    layer = tt.Preprocessed("user_id", tf.keras.layers.StringLookup(vocabulary=["a"], output_mode="one_hot"))
    recipe = dataclasses.replace(recipes.load(_FILE), schema=tt.Schema(query=(layer,), candidate=(tt.Id("item_id"),)))
    assert getattr(override(recipe, [assignment]), assignment.partition("=")[0]) == expected


def test_the_pages_example_is_a_recipe(tmp_path):
    page = Path(__file__).parents[1] / "docs" / "own_parts.md"
    (tmp_path / "my_parts.py").write_text(page.read_text().split("```python\n")[1].split("```")[0])
    recipe = recipes.load(str(tmp_path / "my_parts.py"))
    assert to_dict(recipe)["model"]["loss"] == {"type": "my_parts.Focal", "power": 0.5}
    assert build_encoder(recipe.model.query_encoder)([tf.ones([2, 3])]).shape == (2, 64)
    scores, positive = tf.constant([[2.0, 0.0], [0.0, 0.0]]), tf.constant([0, 0])
    easy, hard = np.log1p(np.exp(-2.0)), np.log(2.0)
    weights = np.sqrt([1 - 1 / (1 + np.exp(-2.0)), 0.5])
    found = recipe.model.loss(scores, None, None, None, positive)
    assert float(found) == pytest.approx((weights @ [easy, hard]) / weights.sum(), rel=1e-5)
