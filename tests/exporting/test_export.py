"""The exported SavedModel: its answers, its filters and its manifest, in Python and, by TensorFlow's C API, without."""

import contextlib
import functools

import numpy as np
import pytest
import tensorflow as tf
import toy

from tests.exporting import capi
from tfrs_twotower import columns as c
from tfrs_twotower.exporting import checksum, items, parity, read
from tfrs_twotower.index import IndexConfig
from tfrs_twotower.serving.catalogue import Catalogue

LOWEST = tf.float32.min
KINDS = ("exact", "ivf", "scann")


@pytest.fixture(scope="module")
def exports(trained, tmp_path_factory):
    """{kind of index: path of an export}."""
    root = tmp_path_factory.mktemp("exports")
    paths = {}
    for kind in KINDS:
        trained.index(IndexConfig(kind=kind, k=10))
        with toy.two_signatures() if kind == "exact" else contextlib.nullcontext():  # it is asked little
            paths[kind] = trained.export(root / kind)
    return paths


@pytest.fixture(scope="module")
def loaded(exports):
    """The loaded export of a kind of index, without the Python model."""
    return functools.cache(lambda kind: tf.saved_model.load(str(exports[kind])))


@pytest.fixture(scope="module", params=KINDS[1:])
def served(request, loaded):
    """Loaded exports with an index. Without one, all is exact search, which they fall back to."""
    if request.param == "scann":
        pytest.importorskip("scann", reason="scann is not installed")
    return loaded(request.param)


def ask(served, features, k=10, exclude=(), allow=(), beta=0.0, signature="serving_default"):
    """(ids, scores) as numpy; `exclude` and `allow` are lists of ids for every query."""
    answer = served.signatures[signature](
        **features,
        **{c.K: tf.constant(k), c.EXCLUDE_IDS: _ids(exclude), c.ALLOW_IDS: _ids(allow),
           c.POPULARITY_BETA: tf.constant(beta)},
    )
    return answer[c.IDS].numpy().astype(str), answer[c.SCORES].numpy()


def _ids(ids):
    return tf.reshape(tf.constant(list(ids), tf.string), [1, -1])


@pytest.fixture(scope="module")
def features(trained):
    a = trained.assembly
    return a.examples.raw_queries(a.split.test.row[:6])


def test_scores_are_the_inner_product_over_the_temperature(trained, served, features):
    a = trained.assembly
    queries, items = a.query_vectors(a.split.test.row[:6]), a.candidate_vectors()
    expected = np.sort(queries @ items.T / 0.05, axis=1)[:, ::-1][:, :10]
    got = ask(served, features, signature="recommend_exact")[1]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_exclusions_do_not_shorten_the_answer(served, features):
    everything, _ = ask(served, features, k=toy.ITEMS)
    first = everything[0]
    assert len(set(first)) == toy.ITEMS
    for dropped in (1, 50, toy.ITEMS - 3):
        ids, scores = ask(served, features, k=10, exclude=[*first[:dropped], "never seen", ""])
        left = min(10, toy.ITEMS - dropped)
        assert ids[0][:left].tolist() == first[dropped: dropped + left].tolist()
        assert (ids[0][left:] == "").all() and (scores[0][left:] == LOWEST).all()


def test_allow_list_is_all_that_is_returned(served, features):
    ids, scores = ask(served, features, k=5, allow=["i3", "i4", "never seen"])
    for row, values in zip(ids, scores):
        assert set(row[:2]) == {"i3", "i4"} and (row[2:] == "").all() and (values[2:] == LOWEST).all()
    ids, _ = ask(served, features, k=5, allow=["i3", "i4"], exclude=["i4"])
    assert (ids[:, 0] == "i3").all() and (ids[:, 1:] == "").all()


def test_exact_search_in_blocks_of_queries_equals_one_block(trained, features, monkeypatch):
    from tfrs_twotower.exporting import exact_search as module

    trained.index(IndexConfig(kind="exact", k=10))
    nothing, beta = tf.zeros([1, 0], tf.string), tf.constant([0.0, 0.0, 1.0, 0.0, 0.5, 0.0])
    best, _ = trained.retriever.recommend(features, tf.constant(1), nothing, nothing, beta)
    request = (features, tf.constant(9), best, nothing, beta)  # each query without its own first answer
    whole = trained.retriever.recommend(*request)
    monkeypatch.setattr(module, "_BLOCK_SCORES", 4 * toy.ITEMS)  # 6 queries: one full block and a part of one
    for run in (trained.retriever.recommend, tf.function(trained.retriever.recommend)):
        parts = run(*request)
        assert np.array_equal(parts[0], whole[0])
        np.testing.assert_allclose(parts[1], whole[1], rtol=1e-5, atol=1e-6)


def test_an_allow_list_of_unknown_ids_allows_nothing(served, features):
    ids, _ = ask(served, features, k=5, allow=["never seen"])
    assert (ids == "").all()


def test_beta_takes_log_popularity_off(trained, served, features):
    ids, scores = ask(served, features, k=toy.ITEMS)
    shifted_ids, shifted = ask(served, features, k=toy.ITEMS, beta=2.0)
    counts = trained.assembly.train_counts + 1.0
    names = trained.assembly.log.items["item_id"].to_pylist()
    log_p = {names[row]: np.log(n / counts.sum()) for row, n in zip(trained.assembly.catalogue, counts)}
    before = dict(zip(ids[0], scores[0]))
    expected = [before[i] - 2.0 * log_p[i] for i in shifted_ids[0]]
    np.testing.assert_allclose(shifted[0], expected, rtol=1e-4, atol=1e-4)
    assert (np.diff(shifted[0]) <= 1e-5).all()


def test_k_above_the_catalogue_gives_the_catalogue(served, features):
    ids, _ = ask(served, features, k=10_000)
    assert ids.shape == (6, toy.ITEMS) and len(set(ids[0])) == toy.ITEMS


def test_k_below_one_is_refused(served, features):
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least 1"):
        ask(served, features, k=0)


def test_k_and_beta_may_come_one_a_query(served, features):
    answer = served.signatures["serving_default"](
        **features, **{c.K: tf.constant([3] * 6), c.EXCLUDE_IDS: _ids([]), c.ALLOW_IDS: _ids([]),
                       c.POPULARITY_BETA: tf.constant([0.0] * 5 + [1.0])},
    )
    plain, _ = ask(served, features, k=3)
    assert (answer[c.IDS].numpy().astype(str)[:5] == plain[:5]).all()


def test_odd_requests_are_answered(served, trained):
    odd = parity.odd(trained.assembly.model.query_tower.inputs())
    ids, scores = ask(served, odd, k=4)
    assert ids.shape == (3, 4) and np.isfinite(scores).all() and (ids != "").all()


def test_exact_and_pair_scores_agree(served, features):
    ids, scores = ask(served, features, k=5, signature="recommend_exact")
    pairs = served.signatures["score_pairs"](
        **features, **{c.CANDIDATE_IDS: tf.constant(np.concatenate([ids, [["never seen"]] * 6], axis=1))}
    )[c.SCORES].numpy()
    np.testing.assert_allclose(pairs[:, :5], scores, rtol=1e-5, atol=1e-5)
    assert (pairs[:, 5] == LOWEST).all()


def test_similar_items_leave_out_the_item_and_know_unknown_ones(served):
    answer = served.signatures["similar_items"](
        **{c.ITEM_ID: tf.constant(["i7", "never seen"]), c.K: tf.constant(toy.ITEMS)}
    )
    ids = answer[c.IDS].numpy().astype(str)
    assert set(ids[0]) == {f"i{i}" for i in range(toy.ITEMS)} - {"i7"} | {""}
    assert (ids[1] == "").all()


def test_embeddings_are_the_towers(trained, served, features):
    a = trained.assembly
    got = served.signatures["embed_query"](**features)[c.EMBEDDING].numpy()
    np.testing.assert_allclose(got, a.query_vectors(a.split.test.row[:6]), atol=1e-6)
    from tfrs_twotower.features import to_tensor

    raw = {n: to_tensor(a.log.items[n].take(a.catalogue[:5]), s) for n, s in a.model.candidate_tower.inputs().items()}
    got = served.signatures["embed_candidate"](**raw)[c.EMBEDDING].numpy()
    np.testing.assert_allclose(got, a.candidate_vectors()[:5], atol=1e-6)


def _graph_ops(path):
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    message.ParseFromString((path / "saved_model.pb").read_bytes())
    graph = message.meta_graphs[0].graph_def
    return {n.op for n in graph.node} | {n.op for f in graph.library.function for n in f.node_def}


def test_portable_flavours_hold_no_custom_op(exports):
    for kind in ("exact", "ivf"):
        assert not [op for op in _graph_ops(exports[kind]) if ">" in op]
        assert read(exports[kind])["flavour"] == "portable"
    assert [op for op in _graph_ops(exports["scann"]) if op.startswith("Scann>")]
    assert read(exports["scann"])["custom_op_library"] == "scann"


@pytest.mark.parametrize("filters", [{}, {"exclude": ["i3", "i4"]}, {"allow": ["i3", "i4", "i5"]}, {"beta": 1.5}])
def test_searching_by_the_embedding_answers_as_the_whole_request(served, features, filters):
    embedding = served.signatures["embed_query"](**features)[c.EMBEDDING]
    ids, scores = ask(served, {c.EMBEDDING: embedding}, signature="recommend_by_vector", **filters)
    whole_ids, whole_scores = ask(served, features, **filters)
    assert np.array_equal(ids, whole_ids)
    np.testing.assert_allclose(scores, whole_scores, rtol=1e-5, atol=1e-5)


def test_inputs_that_have_defaults_say_so_in_the_signature(exports):
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    message.ParseFromString((exports["ivf"] / "saved_model.pb").read_bytes())
    for name in ("serving_default", "recommend_exact", "recommend_by_vector"):
        defaults = message.meta_graphs[0].signature_def[name].defaults
        assert set(defaults) == {c.K, c.EXCLUDE_IDS, c.ALLOW_IDS, c.POPULARITY_BETA}
        assert defaults[c.K].int_val[0] == 10


def test_manifest_holds_the_checksum_of_every_file(exports):
    path = exports["ivf"]
    manifest = read(path)
    on_disk = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()} - {"manifest.json"}
    assert set(manifest["files"]) == on_disk
    assert all(checksum(path / name) == digest for name, digest in manifest["files"].items())
    assert manifest["index"]["meets_target"] and manifest["index"]["recall@10"] >= 0.95
    assert manifest["catalogue"] == {"items": toy.ITEMS, "dim": 16}
    assert manifest["vocabulary"]["candidate"]["id_item_id"] == toy.ITEMS


def test_a_catalogue_knows_which_items_have_training_events(trained, exports, served):
    counts, manifest = trained.assembly.train_counts, read(exports["exact"])
    assert manifest["training_events"] == len(trained.assembly.split.train)
    np.testing.assert_array_equal(Catalogue(served, None, manifest["training_events"]).trained, counts > 0)


def test_attributes_of_items_stand_beside_in_the_order_of_the_catalogue(trained, exports, served):
    table = items.read(exports["exact"], read(exports["exact"]))
    assert table[c.ITEM_ID].to_pylist() == [i.decode() for i in served.item_ids.numpy()]
    a = trained.assembly
    assert table.num_rows == len(a.catalogue)
    columns = dict(zip(a.log.items[c.ITEM_ID].to_pylist(), a.log.items.to_pylist()))
    assert table.to_pylist() == [columns[item] for item in table[c.ITEM_ID].to_pylist()]
    assert items.read(exports["exact"], {"files": {}}) is None


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return capi.compile_loader(str(tmp_path_factory.mktemp("capi")))


@pytest.mark.parametrize("kind, asked", [
    ("exact", {}),
    ("ivf", {c.K: np.int32(7), c.EXCLUDE_IDS: [["i3"]], c.POPULARITY_BETA: np.float32(0.5)}),
    ("scann", {c.K: np.int32(7), c.EXCLUDE_IDS: [["i3"]]}),
])
def test_without_python_it_answers_the_same_and_knows_the_defaults(kind, asked, program, exports, loaded, features):
    """As TF Serving loads it: no Python, no TFRS; of custom ops, ScaNN's library alone."""
    library = capi.scann_library() if kind == "scann" else None
    raw = {name: np.asarray(value).astype(str) if value.dtype == tf.string else value.numpy()
           for name, value in features.items()}
    answer = capi.run(program, exports[kind], {**raw, **asked}, op_library=library)
    ids, scores = ask(
        loaded(kind), features, k=int(asked.get(c.K, 10)),
        exclude=asked.get(c.EXCLUDE_IDS, [[]])[0], beta=float(asked.get(c.POPULARITY_BETA, 0)),
    )
    assert np.array_equal(answer[c.IDS].astype(str), ids)
    np.testing.assert_allclose(answer[c.SCORES], scores, rtol=1e-5, atol=1e-5)
    if library:
        with pytest.raises(RuntimeError, match="Scann"):
            capi.run(program, exports[kind], raw)
