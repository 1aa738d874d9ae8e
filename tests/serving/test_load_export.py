"""An export in Python: calls by name, whose defaults are those of the signatures."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tfrs_twotower.errors import ExportError
from tfrs_twotower.exporting import user_deltas
from tfrs_twotower.features import fingerprints
from tfrs_twotower.serving import InvalidArgument, NotFound


@pytest.fixture
def root(tmp_path, publish):
    publish(tmp_path, 2)
    publish(tmp_path, 3)
    return tmp_path


def test_what_is_left_out_takes_its_default(root):
    found = tt.load_export(root)(user_id=["u"])
    assert found["ids"].numpy().tolist() == [[b"a", b"b"]]  # k is 2 by default, and 3 the newest version
    assert found["scores"].numpy().tolist() == [[7.0, 6.0]]
    assert tt.load_export(root / "2")(user_id=["u"])["scores"].numpy().tolist() == [[6.0, 5.0]]


def test_rows_of_users_that_were_published_since_count(tmp_path):
    shutil.copytree(Path(__file__).parents[1] / "fixtures" / "run" / "export", tmp_path / "export")
    inputs = {"user_id": ["one", "two"], "age": [30.0, 30.0], "segment": ["", ""], "timestamp": [0, 0],
              "history_item_id": [[""], [""]], "history_timestamp": [[0], [0]]}
    before = tt.load_export(tmp_path / "export")
    keys, space = fingerprints(tf.constant(["one"])).numpy(), before.manifest["embedding_space"]
    user_deltas.publish(tmp_path / "export", 1, user_deltas.UserDelta(space, 1, keys, np.full([1, 32], 5, np.float32)))
    after = tt.load_export(tmp_path / "export")
    old, new = (model("embed_query", **inputs)["embedding"].numpy() for model in (before, after))
    assert np.abs(new[0] - old[0]).max() > 0.01 and np.array_equal(new[1], old[1])


@pytest.mark.parametrize("value", [["u", "v"], np.array(["u", "v"]), tf.constant(["u", "v"])])
def test_values_come_as_lists_arrays_and_tensors(root, value):
    found = tt.load_export(root)("serving_default", user_id=value, k=3, exclude_ids=[["b"]])
    assert found["ids"].numpy().tolist() == [[b"a", b"c", b"d"]] * 2


@pytest.mark.parametrize("name, inputs, error, message", [
    ("", {"user": ["u"]}, InvalidArgument, "has no input `user`. Did you mean"),
    ("", {"k": 2}, InvalidArgument, r"needs \['user_id'\] too"),
    ("", {"user_id": ["u"], "k": "two"}, InvalidArgument, "`k` must be int32"),
    ("recommend", {"user_id": ["u"]}, NotFound, "Signature `recommend` not found"),
])
def test_what_is_wrong_is_said(root, name, inputs, error, message):
    with pytest.raises(error, match=message):
        tt.load_export(root)(name, **inputs)


def test_a_damaged_export_and_no_export_are_refused(root, tmp_path):
    (root / "3" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ExportError, match="does not have the checksum"):
        tt.load_export(root)
    with pytest.raises(ExportError, match="cannot be read"):
        tt.load_export(tmp_path / "nothing")
