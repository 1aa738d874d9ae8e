"""Large requests in blocks: the same answer, and others in between."""

import numpy as np
import pytest

from tfrs_twotower.exporting import BY_ROW
from tfrs_twotower.serving import Predictor, Repository, blocks
from tfrs_twotower.serving.errors import Cancelled

ROWS = 600


@pytest.fixture(scope="module")
def predictor(shop_root):
    repository = Repository(shop_root)
    repository.poll()
    return Predictor(repository)


def query(rows):
    users = np.array(["u1", "u2", "nobody"])[np.arange(rows) % 3]
    return {"user_id": users, "history_item_id": np.full([rows, 1], ""), "mood": np.ones([rows, 2], np.float32)}


def ask(predictor, name, inputs, pause=lambda: None):
    with predictor.repository.lease() as model:
        return predictor.run(model, model.signature(name), inputs, pause)


@pytest.mark.parametrize("name, options", [
    ("", {"k": np.int32(2)}),
    ("", {"k": np.arange(ROWS, dtype=np.int32) % 3 + 1, "exclude_ids": [["c"]]}),  # the largest k is in each block
    ("recommend_exact", {"popularity_beta": (np.arange(ROWS) % 5).astype(np.float32)}),
    ("recommend_fresh", {"overlay_ids": ["n"] * ROWS, "overlay_vectors": np.ones([ROWS, 2], np.float32)}),
    ("embed_query", {}),
    ("score_pairs", {"candidate_ids": np.array([["a", "b"], ["f", "?"]])[np.arange(ROWS) % 2]}),
])
def test_the_answer_is_that_of_all_rows_at_once(predictor, monkeypatch, name, options):
    pauses = []
    found = ask(predictor, name, {**query(ROWS), **options}, lambda: pauses.append(1))
    assert len(pauses) == 3  # blocks of 256 rows
    monkeypatch.setattr(blocks, "_ROWS", 10**6)
    whole = ask(predictor, name, {**query(ROWS), **options}, lambda: pauses.append(1))
    assert len(pauses) == 3 and found.keys() == whole.keys()
    for output, values in whole.items():
        assert len(values) == ROWS
        np.testing.assert_array_equal(found[output], values)


def test_many_k_make_no_more_rows(predictor):
    found = ask(predictor, "", {**query(1), "k": np.full(ROWS, 2, np.int32)})
    assert found["ids"].shape == (1, 2)


def test_similar_items_in_blocks(predictor):
    found = ask(predictor, "similar_items", {"item_id": ["a", "d"] * 300, "k": np.int32(2)})
    assert found["ids"].tolist() == [[b"c", b"b"], [b"e", b"f"]] * 300


@pytest.mark.parametrize("limit, value, blocks_of_ten", [
    ("_ROWS", 4, 3), ("_LIST_NUMBERS", 2 * (50 + 1) * 2 + 1, 5), ("_SEARCHED_NUMBERS", 5 * 6 * (2 + 64), 2),
])
def test_blocks_are_small_where_lists_are_long_or_the_catalogue_is_large(
    predictor, monkeypatch, limit, value, blocks_of_ten
):
    monkeypatch.setattr(blocks, limit, value)
    pauses = []
    excluded = {"exclude_ids": np.full([1, 48], "c")}  # with a history of one and a mood of two
    ask(predictor, "", {**query(10), **excluded}, lambda: pauses.append(1))
    assert len(pauses) == blocks_of_ten


def test_what_pause_raises_ends_the_request(predictor):
    pauses = []

    def pause():
        pauses.append(1)
        if len(pauses) == 2:
            raise Cancelled("The client went away.")

    with pytest.raises(Cancelled):
        ask(predictor, "", query(ROWS), pause)
    assert len(pauses) == 2


def test_every_signature_of_an_export_runs_in_blocks(predictor):
    with predictor.repository.lease() as model:
        assert set(model.signatures) == set(BY_ROW) - {"query_parts"}  # of linear query towers
