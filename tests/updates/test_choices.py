"""What the gate reads of answers and events, and which comparison it takes."""

import numpy as np
import pytest

from tests.online.test_feedback import NOON, answer, write_all
from tfrs_twotower.data import Files, Newest, ingest
from tfrs_twotower.evaluation import EvaluationConfig
from tfrs_twotower.features import Id, Schema
from tfrs_twotower.online import Event, Impression, Store, collect, collected_columns, open_stores
from tfrs_twotower.pipeline.assembling import assemble, completed
from tfrs_twotower.recipe import ModelConfig, Recipe
from tfrs_twotower.training import TrainingConfig
from tfrs_twotower.updates.choices import read_choices
from tfrs_twotower.updates.gate import CHOICE_RATE, ENOUGH, judge

PAST = [Event(f"p{n}", "uvw"[n % 3], item, NOON - 1000 + n, "click") for n, item in enumerate("abcdefgh")]
ANSWERS = [
    answer("trains", "w", NOON + 50, "abcd"),
    answer("all seen", "u", NOON + 100, "abcd"),  # b of a, b, c and d: what was seen last does not count
    answer("stopped", "u", NOON + 200, "efgh"),   # g, and nothing was seen after it
    answer("unsaid", "v", NOON + 300, "badc"),    # a, then c: b and d were passed over
    answer("left out", "v", NOON + 400, "efgh"),  # e; f was dropped, g is the last that was seen
]
SEEN = [Impression("1", "trains", NOON + 51, [0, 1, 2], []), Impression("2", "all seen", NOON + 101, [0, 1, 2, 3], []),
        Impression("3", "stopped", NOON + 201, [0, 1, 2], []), Impression("4", "left out", NOON + 401, [0, 2], [1])]
EVENTS = [*PAST, *(Event(str(n), user, item, NOON + at, "click", of) for n, (user, item, at, of) in enumerate([
    ("w", "a", 55, "trains"), ("w", "h", 90, ""), ("u", "b", 110, "all seen"), ("u", "g", 210, "stopped"),
    ("v", "a", 310, "unsaid"), ("v", "c", 320, "unsaid"), ("v", "e", 410, "left out"),
]))]
UNTIL = NOON + 9000


def assembly(source, held_out=0.85):
    """The `Assembly` of an update, whose model is as it starts."""
    recipe = Recipe(
        "toy", source=source, schema=Schema((Id("user_id"),), (Id("item_id"),)), model=ModelConfig(dim=4),
        split=Newest(NOON, held_out), evaluation=EvaluationConfig(ks=(2,), baseline_seconds=0),
        training=TrainingConfig(batch_size=4, monitor="ndcg@2"),
    )
    log, _ = ingest(source)
    a = assemble(completed(recipe, log), log)
    a.model(next(iter(a.batches.dataset(0, 1))))
    return a


def test_what_was_chosen_before_the_last_place_that_was_seen(tmp_path):
    write_all(tmp_path, ANSWERS, SEEN, EVENTS)
    store = Store(f"sqlite:{tmp_path}/store.db", (str(tmp_path / "log"),), until=UNTIL)
    out = str(tmp_path / "out")
    stores = open_stores(store.address)
    collect(stores.history, store.log, out, 0, UNTIL)
    stores.close()
    for source in (store, Files(out, columns=collected_columns(out))):
        a = assembly(source)
        found = read_choices(a)
        ids = a.log.items["item_id"].take(a.catalogue[found.items.values]).to_pylist()
        assert found.items.lengths.tolist() == [3, 3] and "".join(ids) == "abcbad"
        assert found.chosen.tolist() == [False, True, False, False, True, False]
        assert (found.queries.timestamp - NOON).tolist() == [110, 310]
    assert read_choices(assembly(Store(store.address, until=UNTIL))) is None
    few = judge(a, a, a.evaluate(a.asked(), a.model_scorer(a.asked())))
    assert few.metric == "ndcg@2" and few.reason is None and few.serving == few.updated


@pytest.mark.parametrize("seen", [True, False])
def test_lists_are_compared_where_enough_is_known_of_what_was_seen(tmp_path, seen):
    """Everybody takes the first item of a list, and sees all. The update turns the serving order around."""
    moments = NOON + 60 * np.arange(ENOUGH + 2)
    answers = [answer(f"{n:03}", "uvw"[n % 3], int(at), "abcdefgh") for n, at in enumerate(moments)]
    said = [Impression(str(n), f"{n:03}", int(at), list(range(8)), []) for n, at in enumerate(moments)]
    clicks = [Event(str(n), "uvw"[n % 3], "a", int(at) + 9, "click", f"{n:03}") for n, at in enumerate(moments)]
    write_all(tmp_path, answers, said if seen else [], [*PAST, *clicks])
    source = Store(f"sqlite:{tmp_path}/store.db", (str(tmp_path / "log"),), until=UNTIL)
    serving, updated = assembly(source, 0.98), assembly(source, 0.98)
    for a, order in ((serving, "abcdefgh"), (updated, "hgfedcba")):
        scores = [order[::-1].index(item) for item in a.log.items["item_id"].to_pylist()]
        vectors = np.zeros([len(a.catalogue), 4], np.float32)
        vectors[:, 0] = np.array(scores)[a.catalogue]
        a.item_vectors = lambda vectors=vectors: vectors
        a.tower_vectors = lambda rows: np.tile(np.float32([1, 0, 0, 0]), (len(rows), 1))
    evaluation = updated.evaluate(updated.asked(), updated.model_scorer(updated.asked()))
    found = judge(updated, serving, evaluation)
    assert "fell from" in found.reason
    if seen:
        assert found.metric == CHOICE_RATE and found.queries >= ENOUGH and f"{found.queries} answers" in found.reason
        assert found.to_dict()["tolerance"] == 0.01 and "favours" not in found.reason
        same = judge(serving, serving, evaluation)
        assert same.reason is None and same.serving == same.updated
    else:
        assert found.metric == "ndcg@2" and "Only 0 answers" in found.reason
        assert "favours that version" in found.reason and "POST /v1/impressions" in found.reason
