from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.serving import InvalidArgument, Limits, NotFound, Predictor, ResourceExhausted


@pytest.fixture(scope="module")
def predictor(server):
    return server.predictor


def test_arrays_tensors_and_lists(predictor):
    for users in (["u"], np.array(["u"]), np.array([b"u"], object), tf.constant(["u"])):
        found = predictor.predict("serving_default", {"user_id": users, "k": np.int32(1)})
        assert found["ids"].tolist() == [[b"a"]] and found["scores"].tolist() == [[7.0]]
        assert found["scores"].dtype == np.float32


@pytest.mark.parametrize(
    "inputs, error",
    [
        ({"user_id": np.array([1])}, InvalidArgument),
        ({"user_id": np.array([object()])}, InvalidArgument),
        ({"user_id": tf.constant([1])}, InvalidArgument),
        ({"user_id": ["u"], "k": tf.constant([1, 6])}, InvalidArgument),
        ({"user_id": ["u"], "k": np.float32(1)}, InvalidArgument),
        ({"user_id": ["u"], "popularity_beta": np.zeros([1, 1, 1], np.float32)}, InvalidArgument),
        ({"user_id": ["u"] * 9}, ResourceExhausted),
    ],
)
def test_checks_do_not_depend_on_the_transport(predictor, inputs, error):
    with pytest.raises(error):
        predictor.predict("", inputs)


def test_unknown_signatures_and_versions(predictor):
    with pytest.raises(NotFound, match="embed_query"):
        predictor.predict("embed_queri", {"user_id": ["u"]})
    with pytest.raises(NotFound, match="Loaded: \\[3\\]"):
        predictor.predict("", {"user_id": ["u"]}, version=2)


def test_for_what_no_store_has_none_is_offered(predictor):
    with pytest.raises(InvalidArgument, match=r"needs the inputs \['candidate_ids'\]. Received: \['user_id'\]\.$"):
        predictor.predict("score_pairs", {"user_id": ["u"]})


def test_required_inputs_have_the_same_rows(predictor):
    inputs = {"user_id": ["u", "v"], "candidate_ids": [["a"]]}
    with pytest.raises(InvalidArgument, match="`candidate_ids` must have as many rows as `user_id`, which has 2"):
        predictor.predict("score_pairs", inputs)


def test_a_list_of_items_is_for_all_rows_or_one_a_row(predictor):
    users = {"user_id": ["u", "v"], "k": np.int32(1)}
    for excluded, left in (([["a"]], [[b"b"], [b"b"]]), ([["a"], ["b"]], [[b"b"], [b"a"]])):
        assert predictor.predict("", {**users, "exclude_ids": excluded})["ids"].tolist() == left
    with pytest.raises(InvalidArgument, match="`exclude_ids` must have one row, or as many as `user_id`, which has 2"):
        predictor.predict("", {**users, "exclude_ids": [["a"], ["b"], ["c"]]})


def test_a_beta_that_overflows_is_refused_where_the_largest_finds_items(predictor):
    beta = {"user_id": ["u"], "k": np.int32(1), "popularity_beta": np.float32(1e15)}
    assert predictor.predict("", beta)["ids"].tolist() != [[b""]]
    with pytest.raises(InvalidArgument, match="`popularity_beta` must be finite, and from -1e\\+15 to 1e\\+15"):
        predictor.predict("", {**beta, "popularity_beta": np.float32(2e15)})


def test_limits_are_the_documented_ones():
    assert Limits() == Limits(
        max_batch=1024, max_k=1000, max_width=10_000, max_values=2**20, max_body_bytes=8 * 1024 * 1024
    )


def test_threads_share_a_predictor(predictor):
    def ask(k):
        return predictor.predict("", {"user_id": ["u"] * k, "k": np.int32(k)})["ids"].tolist()

    items = [b"a", b"b", b"c", b"d"]
    with ThreadPoolExecutor(8) as pool:
        sizes = [1, 2, 3, 4] * 50
        for k, ids in zip(sizes, pool.map(ask, sizes)):
            assert ids == [items[:k]] * k


def test_predictor_of_its_own_limits(server):
    with pytest.raises(InvalidArgument, match="between 1 and 3"):
        Predictor(server.repository, Limits(max_k=3)).predict("", {"user_id": ["u"], "k": np.int32(4)})


def test_many_rows_of_long_lists_are_refused_and_the_message_says_how_many_rows_are_not(server):
    predictor = Predictor(server.repository, Limits(max_values=20))
    users, candidates = np.array(["u"] * 7), np.full([7, 3], "a")
    with pytest.raises(ResourceExhausted, match=r"at most 20 values.*\[7, 3\].*or 6 rows at a time\.$"):
        predictor.predict("score_pairs", {"user_id": users, "candidate_ids": candidates})
    scores = predictor.predict("score_pairs", {"user_id": users[:6], "candidate_ids": candidates[:6]})["scores"]
    assert scores.shape == (6, 3)
