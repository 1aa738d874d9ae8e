"""An index that no SavedModel holds: built and kept by a run, used by it, and written beside its export."""

import json

import numpy as np
import own_index
import pytest
import tensorflow as tf
import toy

from tfrs_twotower import recommender
from tfrs_twotower.errors import ExportError
from tfrs_twotower.index import IVF, IndexConfig
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.serving import loading


@pytest.fixture(scope="module")
def run(trained):
    """The trained run with an index that never finds row 2."""
    report = trained.index(IndexConfig(kind=own_index.Blind(row=2), k=10, target_recall=0.8))
    assert report.kind == "own_index.Blind" and 0.8 < report.recall_at_k < 1
    yield trained
    trained.index(IndexConfig())
    assert not (trained.directory / "index").exists()


def best(recommender, user):
    return recommender.recommend(user, k=5, exclude_seen=False)["item_id"].tolist()


@pytest.fixture(scope="module")
def fan(run):
    """A user whose best item is that of row 2, and the item."""
    a = run.assembly
    item = a.log.items["item_id"][int(a.catalogue[2])].as_py()
    vectors = a.query_vectors(a.split.test.row) @ a.candidate_vectors().T
    users = a.log.users["user_id"].take(a.split.test.user).to_pylist()
    row = int(np.argmin((-vectors).argsort(axis=1).argsort(axis=1)[:, 2]))
    return users[row], item


def test_who_loads_the_run_searches_by_what_it_keeps(run, fan):
    built = own_index.BlindIndex.built
    again = Recommender.load(run.directory, **toy.planted()[0])
    assert best(again, fan[0]) == best(run, fan[0]) and fan[1] not in best(again, fan[0])
    assert own_index.BlindIndex.built == built
    assert again.recipe.index.kind == own_index.Blind(row=2)


def test_an_export_brings_it_and_a_server_searches_by_it(run, fan, tmp_path):
    path = run.export(tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["index_kind"] == {"type": "own_index.Blind", "row": 2} and manifest["flavour"] == "portable"
    assert "index/vectors.npy" in manifest["files"] and manifest["custom_op_library"] is None
    built, a = own_index.BlindIndex.built, run.assembly
    served = loading.load(str(path), 1, manifest)
    rows = a.split.test.row[:50]
    raw = {name: tensor for name, tensor in a.examples.raw_queries(rows).items()}
    found = served.signature()({**raw, "k": tf.constant(5)})
    exact = served.signature("recommend_exact")({**raw, "k": tf.constant(6)})
    lost = fan[1].encode()
    for got, true in zip(found["ids"].numpy(), exact["ids"].numpy()):
        assert got.tolist() == [item for item in true if item != lost][:5]
    assert any(lost in row for row in exact["ids"].numpy()) and own_index.BlindIndex.built == built


@pytest.fixture
def told(monkeypatch):
    """[(retriever, kind)]: what would have been exported."""
    asked = []
    monkeypatch.setattr(recommender, "export", lambda retriever, *rest, kind, **named: asked.append((retriever, kind)))
    return asked


def test_an_export_for_any_runtime_or_of_another_index_leaves_it_out(run, tmp_path, told):
    again = Recommender.load(run.directory, **toy.planted()[0])
    again.export(tmp_path, flavour="portable")
    again.export(tmp_path, index=IndexConfig(kind="ivf", k=10))
    (portable, exact), (other, ivf) = told
    assert portable.index is None and exact.name == "exact"
    assert isinstance(other.index, IVF) and ivf.name == "ivf"
    assert (run.directory / "index" / "vectors.npy").is_file()  # what the run keeps stays


def test_a_run_in_shards_answers_as_one_index(run, fan, tmp_path):
    """Kept, exported and served: in two exact parts, whose answers are those of the exact search."""
    report = run.index(IndexConfig(kind="exact", shards=2, k=10))
    assert report.kind == "sharded" and report.recall_at_k > 0.99  # rounding decides near 0
    again = Recommender.load(run.directory, **toy.planted()[0])
    assert fan[1] in best(again, fan[0]) and again.recipe.index.shards == 2
    path = again.export(tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["index_kind"]["kind"] == {"type": "ExactKind"} and manifest["flavour"] == "portable"
    assert {"index/parts.json", "index/2/settings.json", "index/2/model/saved_model.pb"} <= manifest["files"].keys()
    served, a = loading.load(str(path), 1, manifest), run.assembly
    raw = {**a.examples.raw_queries(a.split.test.row[:50]), "k": tf.constant(5)}
    found, exact = (served.signature(name)(raw)["ids"].numpy() for name in ("", "recommend_exact"))
    np.testing.assert_array_equal(found, exact)


def test_a_target_that_is_missed_is_not_exported(run, tmp_path):
    run.index(IndexConfig(kind="own_index.Blind", k=10, target_recall=1.0))
    with pytest.raises(ExportError, match="below 1.0, its target"):
        run.export(tmp_path)
