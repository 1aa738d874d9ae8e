"""An answer that was acknowledged is in the log once, through kills, hours and full disks."""

import contextlib
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from forked import Forked

from tests.online.victims import NOON
from tfrs_twotower.errors import DataError
from tfrs_twotower.online import (
    Answer,
    AnswerLog,
    Archive,
    Impression,
    StoreError,
    answer_files,
    new_answer_id,
    read_answers,
    read_impression,
    read_seen,
)

NAME = new_answer_id(NOON)


def answer(name, at=NOON, **fields):
    given = {"user_id": "u", "version": 3, "arm": "b", "context": {"k": 2}, "features": {"age": 3.5, "past": ["x"]},
             "items": [("7", "u2i", 0.5), ("8", "popular", -1.0)], **fields}
    return Answer(answer_id=name, timestamp=at, **given)


def until(true):
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def log_rows(folder):
    with contextlib.closing(sqlite3.connect(folder / "log.db")) as connection:
        return connection.execute("SELECT * FROM answers").fetchall()


@pytest.fixture
def opened(tmp_path):
    """opened(now): the log of a folder, by a clock that stands still."""
    logs = []

    def opened(now, wait=True):
        logs.append(AnswerLog(tmp_path / "log", wait, lambda: now))
        return logs[-1]

    yield opened
    for log in logs:
        log.close()


def test_an_answer_comes_back_as_it_was(opened, tmp_path):
    log = opened(NOON + 60)
    log.record([answer("a"), answer("b", user_id="", items=[])])
    log.record([answer("a", version=4)])  # an id counts once
    first, second = read_answers(tmp_path / "log").to_pylist()
    assert first == {
        "answer_id": "a", "user_id": "u", "timestamp": NOON, "version": 3, "arm": "b", "context": '{"k": 2}',
        "features": '{"age": 3.5, "past": ["x"]}', "item_id": ["7", "8"], "channel": ["u2i", "popular"],
        "score": [0.5, -1.0],
    }
    assert (second["answer_id"], second["user_id"], second["item_id"]) == ("b", "", [])


def test_scores_may_be_numbers_of_numpy(opened, tmp_path):
    opened(NOON + 60).record([answer("a", items=[("7", "u2i", np.float64(0.5))])])
    assert read_answers(tmp_path / "log")["score"].to_pylist() == [[0.5]]


def test_hours_that_have_ended_go_to_parquet_and_each_answer_is_read_once(opened, tmp_path):
    folder, before = tmp_path / "log", tmp_path / "before"
    log = opened(NOON - 1)
    log.record([answer("a"), answer("c", NOON + 3600), answer("b", NOON + 3599), answer("old", NOON - 1)])
    log.saw([Impression("s", "a", NOON + 5, [0, 2], [1])])
    log.close()
    shutil.copytree(folder, before)
    for _ in range(2):  # the second time as if killed before the rows left the database
        log = opened(NOON + 3700)
        log.rotate()
        log.close()
        assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.parquet")) == [
            "answers/2026-11-30T11-old.parquet", "answers/2026-11-30T12-a.parquet", "seen/2026-11-30T12-s.parquet",
        ]
        assert len(log_rows(folder)) == 1
        shutil.copy(before / "log.db", folder / "log.db")
        assert read_answers(folder)["answer_id"].to_pylist() == ["old", "a", "b", "c"]
        assert read_seen(folder).to_pylist() == [
            {"seen_id": "s", "answer_id": "a", "timestamp": NOON + 5, "place": [0, 2], "dropped": [1]}
        ]
    assert read_answers(folder, NOON, NOON + 3599)["answer_id"].to_pylist() == ["a"]
    assert read_answers(folder, NOON + 3599)["answer_id"].to_pylist() == ["b", "c"]


def test_an_hour_that_moves_to_a_file_meanwhile_is_there(opened, tmp_path, monkeypatch):
    log, rows = opened(NOON + 3700), answer_files._rows

    def moved_meanwhile(*query):
        log.rotate()
        return rows(*query)

    log.record([answer("a")])
    monkeypatch.setattr(answer_files, "_rows", moved_meanwhile)
    assert answer_files.starts(tmp_path / "log") == [NOON]


def test_a_folder_of_logs_is_the_log_of_all_servers(tmp_path):
    for name, at in (("a", NOON), ("answers", NOON + 1)):
        log = AnswerLog(tmp_path / name, clock=lambda: NOON + 3700)
        log.record([answer(name, at), answer(f"{name} later", at + 3600)])
        log.saw([Impression(name, "a", at, [0], [])])
        log.rotate()
        log.close()
    Archive(tmp_path / "archive").close()  # it holds no answers
    assert read_answers(tmp_path)["answer_id"].to_pylist() == ["a", "answers", "a later", "answers later"]
    assert read_seen(tmp_path, NOON + 1)["seen_id"].to_pylist() == ["answers"]
    assert answer_files.starts(tmp_path) == [NOON, NOON + 3600]
    with pytest.raises(StoreError, match="or a folder of such folders"):
        answer_files.starts(tmp_path / "a" / "answers")


def test_a_log_that_holds_those_of_further_servers_is_read_with_them(tmp_path):
    """As of a server that was started again with `--processes`, in the same folder."""
    for folder, name in ((tmp_path, "own"), (tmp_path / "1", "first"), (tmp_path / "2", "second")):
        with contextlib.closing(AnswerLog(folder, clock=lambda: NOON + 3700)) as log:
            log.record([answer(name, NOON)])
            log.rotate()
            log.record([answer(f"{name} later", NOON + 3600)])
    found = {"own", "first", "second", "own later", "first later", "second later"}
    assert set(read_answers(tmp_path)["answer_id"].to_pylist()) == found


@pytest.mark.parametrize("acknowledged", [3, 150])
def test_a_killed_process_loses_no_acknowledged_answer_and_doubles_none(tmp_path, acknowledged):
    folder = tmp_path / "log"
    with Forked("tests.online.victims:record", str(folder)) as process:
        told = [process.stdout.readline().strip() for _ in range(acknowledged)]
        process.kill()
        told += process.stdout.read().split("\n")[:-1]
    for _ in range(2):
        found = read_answers(folder)["answer_id"].to_pylist()
        assert set(told) <= set(found) and len(found) == len(set(found)) <= len(told) + 4
        AnswerLog(folder, clock=lambda: NOON + 8000).close()  # it rotates


def test_calls_that_wait_share_a_transaction(opened):
    log, groups = opened(NOON), []
    write = log._write_group
    log._write_group = lambda group: (groups.append(len(group)), write(group))
    with ThreadPoolExecutor(9) as threads:
        with log._file._writing:  # as a slow disk
            first = threads.submit(log.record, [answer("first")])
            until(lambda: groups)
            rest = [threads.submit(log.record, [answer(str(n))]) for n in range(8)]
            until(lambda: log._queue.qsize() == 8)
        for done in (first, *rest):
            done.result()
    assert groups == [1, 8]


def test_a_full_disk_is_an_error_until_there_is_room(opened, tmp_path):
    log = opened(NOON)
    log.record([answer("a")])
    log._file._writer.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match="full"):
        log.record([answer(str(n), context={"x": "x" * 4000}) for n in range(9)])
    log._file._writer.execute("PRAGMA max_page_count = 100000")
    log.record([answer("b")])
    assert read_answers(tmp_path / "log")["answer_id"].to_pylist() == ["a", "b"]


def test_what_nobody_waits_for_fails_at_the_next_call(opened):
    log = opened(NOON, wait=False)
    log._file._writer.execute("PRAGMA max_page_count = 1")
    log.record([answer("a", context={"x": "x" * 40_000})])
    until(lambda: not log._waiting)
    with pytest.raises(StoreError, match="full"):
        log.record([answer("b")])
    with pytest.raises(StoreError, match="too much waits"):
        log.record([answer("c", context={"x": "x" * 2**26})])


def test_what_succeeds_meanwhile_does_not_hide_it(opened):
    log = opened(NOON, wait=False)
    impression = Impression("s1", "a", NOON, [0], [])
    log._file._writer.execute("PRAGMA max_page_count = 1")
    log.record([answer("a", context={"x": "x" * 40_000})])
    until(lambda: not log._waiting)
    log._file._writer.execute("PRAGMA max_page_count = 100000")
    log.saw([impression])  # it is waited for, and kept
    with pytest.raises(StoreError, match="full"):
        log.record([answer("b")])
    log.record([answer("c")])  # it was told once
    until(lambda: not log._waiting)
    log._file._writer.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match="full"):
        log.saw([Impression(str(n), "a" * 4000, NOON, [0], []) for n in range(99)])
    log.record([answer("d")])  # who waited has heard of it


def test_a_folder_has_one_writer(opened):
    opened(NOON)
    with pytest.raises(StoreError, match="Name a folder for this one"):
        opened(NOON)


def test_ids_sort_by_time_and_cannot_be_guessed():
    ids = [new_answer_id(NOON + n / 1000) for n in range(100)]
    assert ids == sorted(ids) and len({name[12:] for name in ids}) == 100 and {len(name) for name in ids} == {32}


@pytest.mark.parametrize("fields, message", [
    ({"answer_id": NAME}, "`places` or `dropped`"), ({"places": [0]}, "`answer_id`"), ([], "list"),
    ({"answer_id": NAME, "places": [0], "more": 1}, "'more'"),
    ({"answer_id": NAME, "places": [0, 2], "dropped": [1, 2]}, r"`places` has. Received: dropped=\[2\]"),
    ({"answer_id": NAME * 65, "places": [0]}, "id of an answer"),
    ({"answer_id": NAME, "places": [5]}, "from 0 to 4"), ({"answer_id": NAME, "places": [-1]}, "from 0 to 4"),
    ({"answer_id": NAME, "places": [0.5]}, "whole numbers"), ({"answer_id": NAME, "dropped": [True]}, "whole numbers"),
    ({"answer_id": NAME, "places": [0] * 6}, "from 0 to 4"), ({"answer_id": NAME, "places": "0"}, "be a list"),
    ({"answer_id": NAME, "places": 0}, r"Received: places=0\."),
    ({"answer_id": NAME, "places": [0], "timestamp": 10**12}, "not milliseconds"),
    ({"answer_id": NAME, "places": [float("inf")]}, "whole numbers"),
    ({"answer_id": NAME, "places": [0], "timestamp": "now"}, "whole seconds"),
])
def test_what_is_wrong_with_an_impression_is_said(fields, message):
    with pytest.raises(DataError, match=message):
        read_impression(fields, NOON, 5)


def test_an_impression_over_grpc_has_floats_and_may_repeat_places():
    found = read_impression({"answer_id": NAME, "places": [4.0, 0.0, 4.0], "timestamp": 5.0}, NOON + 9, 5)
    assert found[1:] == (NAME, NOON, [4, 0], [])  # it was not seen before it was given
