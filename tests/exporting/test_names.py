"""Columns of any name, from the table to the answer of a server."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf
import toy

from tfrs_twotower.columns import safe
from tfrs_twotower.exporting import manifest
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.serving import Predictor, json_tensors
from tfrs_twotower.serving.loading import ready


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(recommender, version's path, frames) of features that are all called oddly."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame({"user_id": [f"u{i}" for i in rng.integers(0, 20, 400)],
                           "item_id": [f"i{i}" for i in rng.integers(0, 10, 400)], "timestamp": np.arange(400)})
    users = pa.table({"user_id": [f"u{i}" for i in range(20)], "Größe (cm)": rng.normal(180, 9, 20),
                      "_group": ["a", "b"] * 10})
    items = pa.table({
        "item_id": [f"i{i}" for i in range(10)], "Product Type": ["a", "b"] * 5, "价格": rng.normal(0, 1, 10),
        "tags[]": [["x"], ["x", "y"]] * 5, "100%": [True, False] * 5, "a/b": ["c d", "e"] * 5, "class": ["x", "y"] * 5,
    })
    folder = tmp_path_factory.mktemp("names")
    frames = {"interactions": events, "users": users, "items": items}
    recommender = Recommender(toy.recipe(epochs=1), directory=folder / "run", **frames).fit(verbose=0)
    return recommender, recommender.export(folder / "export"), frames


def test_the_manifest_says_which_input_is_which_column(exported):
    found = manifest.read(exported[1])["columns"]
    assert found == {"Gru00f6u00dfe_u0028cmu0029": "Größe (cm)", "x_group": "_group", "Product_Type": "Product Type",
                     "u4ef7u683c": "价格", "tagsu005bu005d": "tags[]", "x100u0025": "100%", "au002fb": "a/b",
                     "xclass": "class"}
    inputs = tf.saved_model.load(str(exported[1])).signatures["embed_candidate"].structured_input_signature[1]
    assert set(found) - {"Gru00f6u00dfe_u0028cmu0029", "x_group"} < set(inputs)


def test_a_server_takes_a_column_by_its_name_and_by_its_safe_one(exported):
    recommender, path, _ = exported
    model = ready(str(path), 1, manifest.read(path), "m")
    predictor, vectors = Predictor(None), []
    asked = predictor.signature(model, "embed_candidate")
    for name_of in (str, safe):
        rows = [{name_of(name): row[name] for name in row} for row in items_of(recommender)]
        arrays, _ = json_tensors.decode({"instances": rows}, asked)
        vectors.append(predictor.run(model, asked, arrays)["embedding"])
    np.testing.assert_array_equal(*vectors)
    np.testing.assert_allclose(vectors[0], recommender.assembly.candidate_vectors(), rtol=1e-4, atol=1e-6)


def items_of(recommender):
    """The items as JSON has them, lists padded to one length."""
    rows = recommender.assembly.log.items.take(recommender.assembly.catalogue).to_pylist()
    return [{**row, "tags[]": [*row["tags[]"], ""][:2]} for row in rows]


def test_a_run_of_any_names_is_restored(exported):
    recommender, _, frames = exported
    again = Recommender.load(recommender.directory, **frames)
    np.testing.assert_array_equal(again.assembly.candidate_vectors(), recommender.assembly.candidate_vectors())
