"""Two servers that log, one of them killed: what both showed and what people did is joined, nothing lost or twice."""

import contextlib
import itertools
import json
import re
import threading
import time
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forked import twotower

from tests.serving import history_export
from tfrs_twotower.cli.main import main
from tfrs_twotower.data import ingest
from tfrs_twotower.online import AnswerLog, Store

ARMS = {"salt": "s", "arms": [{"name": "control", "share": 0.5}, {"name": "other", "share": 0.5}]}
STORE = "sqlite:store.db"


class Serving:
    """A process of `twotower serve` with the log `logs/NAME`."""

    def __init__(self, name):
        self.process = twotower("serve", "exports", "--rest-port", 0, "--grpc-port", 0, "--store", STORE,
                                "--log-requests", f"logs/{name}", "--arms", "arms.json")

    def post(self, path, body):
        return httpx.post(self.base + path, json=body, timeout=30).raise_for_status().json()

    def ready(self):
        self.base = re.search(r"http://127\.0\.0\.1:\d+", self.process.stdout.readline())[0]
        return self

    def ask(self, user):
        """(the answer's id, the items that it shows)."""
        found = self.post("/v1/models/twotower:predict", {"inputs": {"user_id": [user], "k": 3, "exclude_ids": [[]]}})
        return found["answer_id"][0], found["outputs"]["ids"][0]

    def hears(self, user, given, other=None):
        """Of a user who clicks on the second item. Users with an even id name the answer.

        Of the others' answers the client says to the server `other` what was seen: all.
        """
        answer, items = given
        event = {"event_id": f"e{user}", "user_id": user, "item_id": items[1], "event": "click"}
        if user % 2:
            other.post("/v1/impressions", {"impressions": [{"answer_id": answer, "places": [0, 1, 2]}]})
        self.post("/v1/events", {"events": [event if user % 2 else {**event, "answer": answer}]})

    def kill_while_it_answers(self):
        """Kills the process in the middle of requests. Returns {user: what it answered}."""
        answers, users, begun = {}, itertools.count(100), threading.Event()

        def ask():
            with contextlib.suppress(httpx.HTTPError):
                while True:
                    user = next(users)
                    answers[user] = self.ask(user)
                    begun.set()

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert begun.wait(30)
        self.process.kill()
        for thread in threads:
            thread.join()
        self.stop()
        return answers

    def stop(self):
        self.process.terminate()
        with self.process:
            pass


@pytest.fixture
def two(tmp_path, monkeypatch):
    """{name: a running `Serving`}; whichever stands there at the end is stopped."""
    monkeypatch.chdir(tmp_path)
    history_export.write("exports", 1)
    (tmp_path / "arms.json").write_text(json.dumps(ARMS))
    servers = {name: Serving(name) for name in "ab"}
    for server in servers.values():
        server.ready()
    yield servers
    for server in servers.values():
        server.stop()


def collected():
    """{id: (label, place, answer, item)} of what `collect` has written; each id is there once."""
    assert main(["collect", STORE, "--log", "logs", "--out", "out", "--until", str(int(time.time()) + 7200)]) == 0
    rows = pa.concat_tables(pq.read_table(file) for file in Path("out").glob("*.parquet")).to_pylist()
    found = {row["event_id"]: (row["label"], row["place"], row["answer"], row["item_id"]) for row in rows}
    assert len(found) == len(rows)
    return found


def expected(given):
    """Of each answer the click, and as shown the place above it, or all other places that the client named."""
    rows = {}
    for user, (answer, items) in given.items():
        rows[f"e{user}"] = (1, 1, answer, items[1])
        for place in (0, 2) if user % 2 else (0,):
            rows[f"shown:{answer}:{place}"] = (0, place, answer, items[place])
    return rows


def test_answers_and_events_meet_whichever_servers_they_went_to_and_a_kill_loses_nothing(two, capsys):
    a, b = two["a"], two["b"]
    given = {}
    for user, (asked, told, other) in enumerate([(a, b, b), (a, b, b), (b, a, a), (b, a, a), (a, a, b), (a, a, b)]):
        given[user] = asked.ask(user)
        told.hears(user, given[user], other)
    assert collected() == expected(given)
    killed = a.kill_while_it_answers()
    for user, answer in killed.items():  # of what a said, b hears alone
        b.hears(user, answer, b)
    two["a"] = a = Serving("a").ready()
    last = {50: b.ask(50), 51: b.ask(51), 52: a.ask(52)}
    for user, answer in last.items():
        a.hears(user, answer, a)
    given |= {**killed, **last}
    assert collected() == expected(given)
    check_readers(given, capsys)
    for name, server in two.items():
        server.stop()
        log = AnswerLog(f"logs/{name}", clock=lambda: time.time() + 7200)
        log.rotate()
        log.close()
    assert list(Path("logs").glob("*/answers/*.parquet")) and collected() == expected(given)


def check_readers(given, capsys):
    """What trainings, `experiment` and `watch` read of both logs."""
    log, _ = ingest(Store(STORE, ("logs",), until=int(time.time()) + 7200))
    assert (len(log), len(log.shown)) == (len(given), len(expected(given)) - len(given))
    capsys.readouterr()
    command = ["experiment", "logs", "--store", STORE, "--metric", "click", "--arms", "arms.json", "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    arms = found["arms"]
    assert sum(arm["events"] for arm in arms) == len(given) and found["moved_users"] == 0
    # What was kept and not acknowledged before the kill: at most an answer of each thread.
    assert len(given) <= sum(arm["answers"] for arm in arms) <= len(given) + 3
    assert main(["watch", "exports", "--log", "logs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answers"] == sum(arm["answers"] for arm in arms)
