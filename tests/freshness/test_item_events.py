"""The file of item events: cut, corrupted, refused by the disk or taken over, it keeps what was acknowledged."""

import contextlib
import shutil
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hostile_ids import HOSTILE
from tfrs_twotower.durable import lock
from tfrs_twotower.errors import DataError
from tfrs_twotower.freshness import FreshItems, item_events
from tfrs_twotower.freshness.item_events import ItemEvents
from tfrs_twotower.online import StoreError

OLD = Path(__file__).parents[1] / "fixtures" / "items-log"
KEPT = {  # what the log of version 0.2.0 in the fixtures was told, in this order
    "c": None, "never seen": None, "早": {"item_id": "早", "price": 4},
    "b": {"item_id": "b", "price": 7, "tags": None}, "new": {"item_id": "new", "price": 5}, "a": None,
}
STEPS = [
    {"a": {"item_id": "a", "price": 1, "tags": ["x" * 50]}, "é": {"item_id": "é", "price": 2.5}},
    {"a": None},
    {"c": {"item_id": "c"}, "a": {"item_id": "a", "price": 3}},
    {"é": {"item_id": "é", "price": 9}, "b": None},
    {"c": None, "é": None},
]


def held(folder, id_type=str):
    events = ItemEvents(folder, id_type)
    try:
        return list(events.read().items())
    finally:
        events.close()


def killed(folder, aside):
    """Copies what a kill would leave of an open folder, and returns the items after each of STEPS."""
    events, states, latest = ItemEvents(folder, str), [[]], {}
    for step in STEPS:
        events.write(step)
        for item, features in step.items():
            latest.pop(item, None)
            latest[item] = features
        states.append(list(latest.items()))
    aside.mkdir()
    for name in ("items.db", "items.db-wal"):
        shutil.copy(folder / name, aside / name)
    events.close()
    return states


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """(the folder that a kill left, the items after each step)."""
    folder = tmp_path_factory.mktemp("events")
    return folder / "left", killed(folder / "open", folder / "left")


def opened_with(left, tmp_path, name, data):
    """What is held where one of the files is another."""
    folder = tmp_path / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(left, folder)
    (folder / name).write_bytes(data)
    return held(folder)


def test_all_that_was_acknowledged_is_there_after_a_kill(left, tmp_path):
    folder, states = left
    assert opened_with(folder, tmp_path, "other", b"") == states[-1]
    assert held(tmp_path / "copy") == states[-1]  # and again
    events = ItemEvents(tmp_path / "copy", str)
    events.write({"é": {"item_id": "é"}, "later": None})
    events.close()
    assert held(tmp_path / "copy") == [*states[-1][:-1], ("é", {"item_id": "é"}), ("later", None)]


def test_cut_anywhere_it_has_what_was_whole(left, tmp_path):
    folder, states = left
    data = (folder / "items.db-wal").read_bytes()
    sizes = [*range(0, len(data), 103), len(data)]
    found = [states.index(opened_with(folder, tmp_path, "items.db-wal", data[:size])) for size in sizes]
    assert found == sorted(found) and set(found) == set(range(len(states)))


def test_a_byte_changed_in_the_log_is_the_torn_end_or_an_error(left, tmp_path):
    """In the last transaction it counts as torn; before, what was acknowledged is lost, which is said."""
    folder, states = left
    data = (folder / "items.db-wal").read_bytes()
    refused = dropped = 0
    for at in [*range(60), *range(60, len(data), 61)]:
        changed = data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1:]
        try:
            items = opened_with(folder, tmp_path, "items.db-wal", changed)
        except StoreError as error:
            assert "items.db" in str(error) and "Restore it" in str(error), at
            with pytest.raises(StoreError):  # the refusal changed nothing
                held(tmp_path / "copy")
            refused += 1
        else:
            assert items in (states[-1], states[-2]), at
            dropped += items == states[-2]
    assert refused > 3 * dropped > 0


def test_a_byte_changed_in_the_file_loses_nothing_silently(left, tmp_path):
    folder, states = left
    assert opened_with(folder, tmp_path, "other", b"") == states[-1]  # closed: all is in the file itself
    whole = tmp_path / "whole"
    (tmp_path / "copy").rename(whole)
    data, refused = (whole / "items.db").read_bytes(), 0
    assert not (whole / "items.db-wal").exists()
    used = [at for at in range(len(data)) if data[at]]
    for at in used:
        try:
            assert opened_with(whole, tmp_path, "items.db", data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1:]) == (
                states[-1]
            ), at
        except StoreError as error:
            assert "items.db" in str(error), at
            refused += 1
    assert refused > len(used) / 2
    for size in (0, 100, 4096, len(data) - 1):
        with pytest.raises(StoreError, match="items.db is damaged.*Restore it from a copy, or remove the folder"):
            opened_with(whole, tmp_path, "items.db", data[:size])


def test_a_file_that_is_gone_while_its_log_is_there_is_noticed(left, tmp_path):
    shutil.copytree(left[0], tmp_path / "copy")
    (tmp_path / "copy" / "items.db").unlink()
    with pytest.raises(StoreError, match="it is missing, and its -wal holds the newest events"):
        held(tmp_path / "copy")


def test_killed_while_it_is_made_nothing_is_there(tmp_path):
    for name in ("items.db.writing", "items.db.writing-wal"):
        (tmp_path / name).write_bytes(b"a part")
    assert held(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.db", "lock"]


def test_ids_of_both_types_and_those_that_look_like_code(tmp_path):
    numbers = [-(2**63), 0, 7, 2**63 - 1]
    for id_type, ids in ((str, HOSTILE), (int, numbers)):
        folder = tmp_path / id_type.__name__
        events = ItemEvents(folder, id_type)
        events.write({item: {"item_id": item, "name": str(item)} for item in ids})
        events.write({ids[0]: None})
        events.close()
        expected = [(item, {"item_id": item, "name": str(item)}) for item in ids[1:]]
        assert held(folder, id_type) == [*expected, (ids[0], None)]
    with pytest.raises(StoreError, match="holds .*'ids': 'int'.*must hold .*'ids': 'str'"):
        held(tmp_path / "int")


def test_a_folder_is_open_once(tmp_path):
    events = ItemEvents(tmp_path, str)
    with pytest.raises(StoreError, match="open in another process"):
        ItemEvents(tmp_path, str)
    events.close()
    with pytest.raises(StoreError, match="was closed"):
        events.write({"a": None})
    assert held(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        ItemEvents(tmp_path / "file" / "folder", str)


def test_a_full_disk_refuses_and_keeps_what_was_there(tmp_path):
    events = ItemEvents(tmp_path, str)
    events.write({"a": {"item_id": "a"}})
    with events._file.transaction() as connection:  # as a full disk: SQLite may not make the file any larger
        connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match="full"):
        events.write({"a": None, **{f"i{n}": {"item_id": f"i{n}", "text": "x" * 500} for n in range(100)}})
    assert events.read() == {"a": {"item_id": "a"}}
    with events._file.transaction() as connection:
        connection.execute("PRAGMA max_page_count = 100000")
    with pytest.raises(DataError, match="must be JSON"):
        events.write({"b": None, "c": {"item_id": "c", "price": float("nan")}})
    events.write({"b": None})
    events.close()
    assert held(tmp_path) == [("a", {"item_id": "a"}), ("b", None)]


@pytest.fixture
def old(tmp_path):
    shutil.copytree(OLD, tmp_path / "log")
    return tmp_path / "log"


def test_a_log_of_version_0_2_0_is_taken_over_once(old):
    assert held(old) == list(KEPT.items())
    names = ["items.db", "lock", "log-1.taken-over", "snapshot-1.taken-over"]
    assert sorted(path.name for path in old.iterdir()) == names
    events = ItemEvents(old, str)
    events.write({"早": None})
    events.close()
    assert held(old) == [*(kept for kept in KEPT.items() if kept[0] != "早"), ("早", None)]


def test_killed_before_the_old_files_have_their_names(old):
    held(old)
    (old / "snapshot-1.taken-over").rename(old / "snapshot-1")
    events = ItemEvents(old, str)
    events.write({"b": None})
    events.close()
    assert dict(held(old))["b"] is None and (old / "snapshot-1.taken-over").exists()


def test_a_log_that_an_old_server_wrote_later_is_not_passed_over(old):
    held(old)
    shutil.copy(OLD / "log-1", old / "log-0")
    with pytest.raises(StoreError, match="log-0 was written by version 0.2.0 after items.db was made"):
        held(old)


def test_the_torn_end_of_an_old_log_is_dropped_and_damage_is_an_error(old):
    data = (old / "log-1").read_bytes()
    last = data.rindex(b"TTRC")
    before = {**dict(list(KEPT.items())[:2]), "a": {"item_id": "a", "price": 1, "tags": ["x", "né"]}}
    before |= {item: KEPT[item] for item in ("早", "b")}
    for torn in (data[:-1], data[:last + 5], data[:last], data[:-1] + b"\0"):
        (old / "log-1").write_bytes(torn)
        assert held(old) == list(before.items())
        shutil.rmtree(old)
        shutil.copytree(OLD, old)
    for at in range(last):
        (old / "log-1").write_bytes(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1:])
        with pytest.raises(StoreError, match="log-1 is damaged at byte .*Restore it from a copy"):
            held(old)
    (old / "log-1").unlink()
    with pytest.raises(StoreError, match="log-1 is missing"):
        held(old)
    (old / "log-1").write_bytes(b"")
    with pytest.raises(StoreError, match="log-1 has no readable header"):
        held(old)
    shutil.copy(OLD / "log-1", old / "log-1")
    with pytest.raises(StoreError, match="'ids': 'str'"):
        held(old, int)
    assert held(old) == list(KEPT.items())  # what was refused was left alone


def test_the_file_is_a_database_that_others_can_read(tmp_path):
    events = ItemEvents(tmp_path, str)
    events.write(STEPS[0])
    events.close()
    rows = sqlite3.connect(tmp_path / "items.db").execute("SELECT item_id, features FROM items").fetchall()
    assert rows == [("a", '{"price": 1, "tags": ["%s"]}' % ("x" * 50)), ("é", '{"price": 2.5}')]


def test_a_file_of_a_later_format_is_whole_and_not_called_damaged(tmp_path):
    ItemEvents(tmp_path, str).close()
    database = sqlite3.connect(tmp_path / "items.db")
    database.execute("PRAGMA user_version=9")
    database.close()
    with pytest.raises(StoreError, match="format 9") as error:
        ItemEvents(tmp_path, str)
    assert "damaged" not in str(error.value)


def test_the_folder_is_opened_again_by_one_thread_while_another_records(tmp_path, monkeypatch):
    """A disk that refused takes changes again; a server asks for it each second, beside the requests."""
    def refuses(folder):
        if folder == tmp_path:
            raise OSError("read-only file system")
        return lock(folder)  # of the copy

    def slow(folder):
        held = lock(folder)
        opening.set()
        time.sleep(0.5)
        return held

    with contextlib.closing(FreshItems(tmp_path)) as items:
        items.withdraw(["a"])
    monkeypatch.setattr(item_events, "lock", refuses)
    with contextlib.closing(FreshItems(tmp_path)) as items, ThreadPoolExecutor() as pool:
        with pytest.raises(StoreError, match="read-only"):
            items.check()
        opening = threading.Event()
        monkeypatch.setattr(item_events, "lock", slow)
        checked = pool.submit(items.check)
        assert opening.wait(30)
        items.withdraw(["b"])
        checked.result()
    monkeypatch.undo()
    assert held(tmp_path) == [("a", None), ("b", None)]
