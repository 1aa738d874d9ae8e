"""Requests that wait together are answered together: each gets its own answer, and the errors are its own."""

import asyncio
import dataclasses
import threading
from concurrent import futures

import numpy as np
import pytest

from tests.serving.test_serving_admission import in_thread, wait_for
from tfrs_twotower.serving import Predictor, Repository, joined_calls
from tfrs_twotower.serving.errors import DeadlineExceeded, InvalidArgument
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


def waiting(joined):
    """How many wait."""
    return sum(len(group) for line in list(joined._waiting.values()) for group in list(line.values()))


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
        wait_for(lambda: waiting(joined) == count, "the next")
    run.gate.set()
    answers = [result() for result in results]
    assert not joined._running and not joined._waiting
    return answers, run.rows


def on_loop(model, users, joined=None, run=None, ends=(), seconds=30):
    """What users get who ask on one event loop, all but the first while that one runs; `ends`: those that are
    cancelled meanwhile. Also the users of each call."""
    expected = len(users) - 1 if joined is None else len(users) + 1
    joined, run, signature = joined or JoinedCalls(at_a_time=1), run or Gated(), model.signature()

    async def answer(user, threads):
        like = alike(model, signature, asked(user))
        return await joined.answer_on_loop(like, model, signature, asked(user), run, threads, seconds)

    async def all_of_them():
        with futures.ThreadPoolExecutor(4) as threads:
            tasks = {user: asyncio.ensure_future(answer(user, threads)) for user in users}
            while not run.rows or waiting(joined) < expected:
                await asyncio.sleep(0.01)
            for user in ends:
                tasks[user].cancel()
            run.gate.set()
            return await asyncio.wait_for(asyncio.gather(*tasks.values(), return_exceptions=True), 30)

    answers = asyncio.run(all_of_them())
    wait_for(lambda: not joined._running and not joined._waiting, "the end")
    return answers, run.rows


def test_an_event_loop_s_requests_are_joined_and_errors_are_their_own(model):
    answers, rows = on_loop(model, ["a", "b", "c"])
    assert rows == [["a"], ["b", "c"]]
    assert [(outputs["ids"].tolist(), named["answer_id"]) for outputs, named in answers] == [
        ([[user]], [f"of {user}"]) for user in "abc"]
    answers, rows = on_loop(model, ["a", "b", "wrong"])
    assert rows[:2] == [["a"], ["b", "wrong"]] and sorted(rows[2:]) == [["b"], ["wrong"]]
    assert [named["answer_id"] for _, named in answers[:2]] == [["of a"], ["of b"]]
    assert isinstance(answers[2], InvalidArgument)
    alone, rows = on_loop(model, ["wrong"])
    assert isinstance(alone[0], InvalidArgument) and rows == [["wrong"]]


def test_a_request_that_is_cancelled_on_the_event_loop_holds_up_no_other(model):
    answers, rows = on_loop(model, ["a", "b", "c"], ends=["a", "b"])
    assert rows == [["a"], ["b", "c"]] and [type(answer) for answer in answers[:2]] == [asyncio.CancelledError] * 2
    assert answers[2][1] == {"answer_id": ["of c"]}


def test_a_request_on_the_event_loop_waits_for_its_turn_for_a_while(model):
    joined, run, signature = JoinedCalls(at_a_time=1), Gated(), model.signature()
    like = alike(model, signature, asked())
    first = in_thread(lambda: joined.answer(like, model, signature, asked("a"), run))
    wait_for(lambda: run.rows, "the first")

    async def late():
        with futures.ThreadPoolExecutor(1) as threads:
            with pytest.raises(DeadlineExceeded, match="did not come within 0.1 s"):
                await joined.answer_on_loop(like, model, signature, asked("b"), run, threads, 0.1)

    asyncio.run(late())
    assert not joined._waiting
    run.gate.set()
    assert first()[1] == {"answer_id": ["of a"]} and run.rows == [["a"]]


def test_threads_and_an_event_loop_wait_in_one_line(model):
    joined, run, signature = JoinedCalls(at_a_time=1), Gated(), model.signature()
    like = alike(model, signature, asked())
    first, second = (
        in_thread(lambda r=asked(user): joined.answer(like, model, signature, r, run)) for user in ("a", "d")
    )
    wait_for(lambda: run.rows and waiting(joined) == 1, "the threads")
    answers, rows = on_loop(model, ["b", "c"], joined, run)
    assert sorted(map(len, rows)) == [1, 3] and sorted(rows[0] + rows[1][:1]) == ["a", "d"]
    assert sorted(answer()[1]["answer_id"][0] for answer in (first, second)) == ["of a", "of d"]
    assert [answer[1]["answer_id"] for answer in answers] == [["of b"], ["of c"]]


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
    wait_for(lambda: waiting(predictor._joined) == 4, "the others")
    gate.set()
    for result, expected in zip(results[1:], alone):
        outputs, named = result()
        assert outputs["ids"].tolist() == expected["ids"].tolist() and named == {}
        np.testing.assert_allclose(outputs["scores"], expected["scores"], rtol=1e-6)
    assert sorted(rows) == [1, 1, 3]  # lists of one, and of two and three
