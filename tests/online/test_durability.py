"""What is acknowledged survives SIGKILL, and a store that could not promise it is refused."""

import logging
import shutil
import signal
import sqlite3
import tempfile

import pytest
import redis_server
from forked import Forked

from tfrs_twotower.online import Event, SqliteFile, SqliteHistoryStore, StoreError, open_stores
from tfrs_twotower.online.redis_connection import connect


def acknowledged_until_killed(address, count):
    """Runs a process that appends, kills it after `count` acknowledgements, returns the last event acknowledged."""
    with Forked("tests.online.victims:append", address) as process:
        for _ in range(count):
            last = int(process.stdout.readline())
        process.kill()
        rest = process.stdout.read().split("\n")[:-1]  # a line without its end is no acknowledgement
    return int(rest[-1]) if rest else last


def test_sqlite_keeps_what_a_killed_process_was_told(tmp_path):
    address = f"sqlite:{tmp_path}/store.db"
    last = acknowledged_until_killed(address, 50)
    stores = open_stores(address)
    found = [int(e.event_id) for e in stores.history.last(["u"], 100_000)[0]]
    stores.close()
    assert found[-1] in (last, last + 1)  # one more may be on disk and not yet acknowledged
    assert found == list(range(found[0], found[-1] + 1))


OLD = """
CREATE TABLE events (arrival INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, user_id TEXT NOT NULL,
  item_id TEXT NOT NULL, timestamp INTEGER NOT NULL, event TEXT NOT NULL, UNIQUE (user_id, event_id));
CREATE INDEX events_in_order ON events (user_id, timestamp, arrival);
CREATE TABLE profiles (user_id TEXT PRIMARY KEY, columns TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO events VALUES (5, 'e', 'u', 'i', 7, 'buy');
PRAGMA user_version=1;
PRAGMA journal_mode=WAL;
"""


def test_a_file_of_an_earlier_version_gets_its_columns_whole_or_not_at_all(tmp_path):
    path, new = tmp_path / "store.db", Event("f", "u", "", 8, "search", query="shoes")
    old = sqlite3.connect(path)
    old.executescript(OLD)
    columns = [name for _, name, *_ in old.execute("PRAGMA table_info(events)")]
    assert Forked("tests.online.victims:add_columns", str(path), quiet=True).wait(60) == -signal.SIGKILL
    assert [name for _, name, *_ in old.execute("PRAGMA table_info(events)")] == columns
    stores = open_stores(f"sqlite:{path}")
    assert stores.history.append([new, Event("e", "u", "other", 9)]) == 1
    assert stores.history.last(["u"], 9) == [[Event("e", "u", "i", 7, "buy"), new]]
    # The earlier version, which still has the file open, goes on.
    old.execute("INSERT INTO events (event_id, user_id, item_id, timestamp, event) VALUES ('g', 'u', 'j', 9, '')")
    old.commit()
    assert stores.history.last(["u"], 1) == [[Event("g", "u", "j", 9)]]
    old.close()
    stores.close()


def test_a_killed_redis_comes_back_with_what_it_acknowledged():
    with redis_server.running() as server:
        stores = open_stores(server.url)
        store = stores.history
        for n in range(20):
            store.append([Event(str(n), "u", f"i{n}", 1 + n)])
        stores.profiles.put({"u": {"age": 3}})
        server.kill()
        with pytest.raises(StoreError, match="fails"):
            store.append([Event("20", "u", "i20", 30)])
        server.start()
        assert [e.event_id for e in store.last(["u"], 100)[0]] == [str(n) for n in range(20)]
        assert stores.profiles.get(["u"]) == [{"age": 3}]
        assert store.append([Event("20", "u", "i20", 30), Event("19", "u", "i", 20)]) == 1
        stores.close()


def test_a_redis_that_may_lose_events_is_refused_or_warned_of(caplog):
    with redis_server.running(("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")) as server:
        why = "appendonly is no, appendfsync is everysec, maxmemory-policy is allkeys-lru"
        with pytest.raises(StoreError, match=why):
            open_stores(server.url)
        with caplog.at_level(logging.WARNING):
            open_stores(server.url, allow_loss=True).close()
        assert "must keep what it acknowledges" in caplog.text


def test_a_redis_that_hides_its_settings_is_warned_of(caplog):
    with redis_server.running((*redis_server.DURABLE, "--rename-command", "CONFIG", "")) as server:
        with caplog.at_level(logging.WARNING):
            open_stores(server.url).close()
    assert "does not tell whether it keeps" in caplog.text


@pytest.mark.parametrize(
    "address, message",
    [
        ("store.db", "must be sqlite:PATH or the URL of a Redis server"),
        ("sqlite:/no/such/folder/store.db", "cannot be opened"),
        ("sqlite::memory:", "must be a file"),
        ("redis://user:secret@127.0.0.1:1/0", "redis://127.0.0.1:1/0 fails"),
        ("redis://127.0.0.1:notaport", "cannot be read"),
    ],
)
def test_an_address_that_leads_nowhere_is_one_clear_error(address, message):
    with pytest.raises(StoreError, match=message) as raised:
        open_stores(address)
    assert "secret" not in str(raised.value)


def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, and long enough to be read as a page " * 100)
    with pytest.raises(StoreError, match="not a database"):
        SqliteFile(path)
    assert path.read_text().startswith("not a database")


def test_a_full_disk_refuses_and_keeps_what_was_there(tmp_path):
    file = SqliteFile(tmp_path / "store.db")
    store = SqliteHistoryStore(file)
    store.append([Event("1", "u", "i", 1)])
    with file.transaction() as connection:  # as a full disk: SQLite may not make the file any larger
        connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match="full"):
        store.append([Event(f"large{n}", "u", "i" * 500, 2) for n in range(100)])
    assert [e.event_id for e in store.last(["u"], 200)[0]] == ["1"]
    with file.transaction() as connection:
        connection.execute("PRAGMA max_page_count = 100000")
    assert store.append([Event("2", "u", "i", 2)]) == 1
    store.close()


def test_a_password_comes_from_the_environment_or_a_file(tmp_path, monkeypatch):
    folder = tempfile.mkdtemp()  # the path of a socket must be short
    server = redis_server.RedisServer(folder).start()
    secret = tmp_path / "secret"
    secret.write_text("of the store\n")
    server.client.config_set("requirepass", "of the store")
    try:
        with pytest.raises(StoreError, match="fails"):
            connect(server.url)
        monkeypatch.setenv("TWOTOWER_REDIS_PASSWORD", "of the store")
        connect(server.url).close()
        monkeypatch.setenv("TWOTOWER_REDIS_PASSWORD_FILE", str(secret))
        monkeypatch.setenv("TWOTOWER_REDIS_PASSWORD", "wrong")
        connect(server.url).close()
        monkeypatch.setenv("TWOTOWER_REDIS_PASSWORD_FILE", str(tmp_path / "none"))
        with pytest.raises(StoreError, match="TWOTOWER_REDIS_PASSWORD_FILE cannot be read"):
            connect(server.url)
    finally:
        server.stop()
        shutil.rmtree(folder)
