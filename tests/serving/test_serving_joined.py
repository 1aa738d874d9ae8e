"""Requests that wait together are answered together: each gets its own answer, and the errors are its own."""

import dataclasses
import threading

import numpy as np
import pytest

from tests.serving.test_serving_admission import in_thread, wait_for
from tfrs_twotower.serving import Predictor, Repository, joined_calls
from tfrs_twotower.serving.errors import InvalidArgument
from tfrs_twotower.serving.joined_calls import JoinedCalls, alike
from tfrs_twotower.serving.metrics import Metrics, current


@pytest.fixture(scope="module")
def model(shop_root):
    repository = Repository(shop_root)
    repository.poll()
    with repository.lease() as model:
        yield model


def asked(user="u1", width=1, **inputs):
    return {"user_id": np.array([user], object), "history_item_id": np.full([1, width], b"a", object),
            "mood": np.ones([1, 2], np.float32), "k": np.int32(2), **inputs}


class Gated:
    """Answers users by their ids. The first call waits until `gate` is set; `rows` has the users of each call."""

    def __init__(self):
        self.gate, self.rows = threading.Event(), []

    def __call__(self, inputs):
        users = inputs["user_id"].tolist()
        self.rows.append(users)
        if len(self.rows) == 1:
            assert self.gate.wait(30)
        if "wrong" in users:
            raise InvalidArgument("wrong")
        return {"ids": np.array([[user] for user in users])}, {"answer_id": [f"of {user}" for user in users]}


def together(model, requests, **settings):
    """What each request gets if all but the first come while the first runs, and the users of each call."""
    joined, run, signature = JoinedCalls(**settings), Gated(), model.signature()

    def answer(request):
        try:
            return joined.answer(alike(model, signature, request), model, signature, request, run)
        except InvalidArgument as error:
            return str(error)

    results = [in_thread(lambda: answer(requests[0]))]
    wait_for(lambda: run.rows, "the first")
    for count, request in enumerate(requests[1:], 1):
        results.append(in_thread(lambda r=request: answer(r)))
        wait_for(lambda: sum(len(g) for w in joined._waiting.values() for g in w.values()) == count, "the next")
    run.gate.set()
    answers = [result() for result in results]
    assert not joined._running and not joined._waiting
    return answers, run.rows


def test_those_that_wait_are_answered_in_one_call_each_with_its_own_row(model):
    answers, rows = together(model, [asked(user) for user in "abcd"], at_a_time=1)
    assert rows == [["a"], ["b", "c", "d"]]
    for user, (outputs, named) in zip("abcd", answers):
        assert outputs["ids"].tolist() == [[user]] and named == {"answer_id": [f"of {user}"]}


def test_an_error_belongs_to_one_of_them(model):
    answers, rows = together(model, [asked(user) for user in ("a", "b", "wrong", "c")], at_a_time=1)
    assert rows[:2] == [["a"], ["b", "wrong", "c"]] and sorted(rows[2:]) == [["b"], ["c"], ["wrong"]]
    assert [answer if isinstance(answer, str) else answer[1]["answer_id"] for answer in answers] == [
        ["of a"], ["of b"], "wrong", ["of c"]]


def test_only_what_asks_alike_is_joined(model):
    requests = [asked("a"), asked("b", k=np.int32(1)), asked("c"), asked("d", width=9), asked("e", width=15)]
    assert together(model, requests, at_a_time=1)[1] == [["a"], ["b"], ["c"], ["d", "e"]]


def test_no_more_are_joined_than_a_block_holds(model, monkeypatch):
    monkeypatch.setattr(joined_calls, "rows_of_block", lambda *request: 2)
    assert together(model, [asked(user) for user in "abcde"], at_a_time=1)[1] == [["a"], ["b", "c"], ["d", "e"]]


@pytest.mark.parametrize("inputs", [
    {"allow_ids": np.array([[b"a"]], object)}, {"popularity_beta": np.float32(0.5)},
    {"mood": np.ones([2, 2], np.float32)},
])
def test_an_exact_search_and_many_rows_run_apart(model, inputs):
    assert alike(model, model.signature(), asked(**inputs)) is None
    assert alike(model, model.signature(), asked()) is not None


def test_requests_of_two_arms_are_not_joined(model):
    with Metrics().call("x"):
        before = alike(model, model.signature(), asked())
        current().arm = "b"
        assert alike(model, model.signature(), asked()) != before


def test_requests_to_an_index_on_other_machines_are_not_joined(model):
    """One of those machines may hang, and then one request alone finds out."""
    assert alike(dataclasses.replace(model, asks_others=True), model.signature(), asked()) is None


def test_joined_answers_are_those_of_each_alone(model, shop_root):
    repository = Repository(shop_root)
    repository.poll()
    predictor, signature = Predictor(repository), model.signature()
    requests = [asked("u1"), asked("u2", width=3), asked("nobody", width=2), asked("u1", width=3)]
    alone = [predictor.answer(model, signature, request)[0] for request in requests]
    running, gate = predictor._call, threading.Event()
    rows = []

    def gated(model, signature, inputs):
        rows.append(len(inputs["user_id"]))
        if len(rows) == 1:
            assert gate.wait(30)
        return running(model, signature, inputs)

    predictor._call, predictor._joined = gated, JoinedCalls(at_a_time=1)
    results = [in_thread(lambda: predictor.answer(model, signature, asked()))]
    wait_for(lambda: rows, "the first")
    results += [in_thread(lambda r=request: predictor.answer(model, signature, r)) for request in requests]
    waiting = predictor._joined._waiting
    wait_for(lambda: sum(len(g) for w in waiting.values() for g in w.values()) == 4, "the others")
    gate.set()
    for result, expected in zip(results[1:], alone):
        outputs, named = result()
        assert outputs["ids"].tolist() == expected["ids"].tolist() and named == {}
        np.testing.assert_allclose(outputs["scores"], expected["scores"], rtol=1e-6)
    assert sorted(rows) == [1, 1, 3]  # lists of one, and of two and three
