"""The store keeps the newest events, the archive all, each once."""

import contextlib

import pytest

from tfrs_twotower.online import Archive, ArchivedHistory, Event, Retention, StoreError, collect, open_stores

DAY = 86_400
NOON = 20_000 * DAY + DAY // 2
EVENTS = [Event(str(n), "u", f"i{n}", NOON + n * DAY // 4, "view", dwell=n or None) for n in range(6)]


@pytest.fixture
def open_history(tmp_path):
    """open_history(now): an archived history that keeps two events."""
    with contextlib.ExitStack() as closing:

        def open_history(now):
            stores = open_stores(f"sqlite:{tmp_path}/store.db", Retention(events=2))
            archive = Archive(tmp_path / "archive", lambda: now)
            history = closing.enter_context(contextlib.closing(ArchivedHistory(stores.history, archive)))
            return history, archive

        yield open_history


def archived(tmp_path, since=0, until=2**40):
    with contextlib.closing(open_stores(f"archive:{tmp_path}/archive")) as stores:
        return [event for page in stores.history.events(since, until) for event in page]


def test_what_the_store_removes_is_in_the_archive_by_day(open_history, tmp_path):
    history, archive = open_history(NOON + DAY)
    assert [history.append([event]) for event in EVENTS] == [1] * 6
    assert [e.event_id for e in history.last(["u"], 9)[0]] == ["4", "5"]
    assert archived(tmp_path) == EVENTS
    archive.rotate()
    days = [path.name[:10] for path in (tmp_path / "archive" / "events").iterdir()]
    assert days == ["2024-10-04"] and archived(tmp_path) == EVENTS  # the second day has not ended
    history.append(EVENTS[:1])  # sent again, after its day
    archive.rotate()
    assert archived(tmp_path) == EVENTS and archived(tmp_path, NOON + 1, NOON + DAY) == EVENTS[1:4]
    with contextlib.closing(open_stores(f"archive:{tmp_path}/archive")) as stores:
        assert collect(stores.history, [], str(tmp_path / "out"), 0, NOON + 9 * DAY).chosen == 6


def test_an_event_that_the_archive_cannot_keep_is_not_taken(open_history):
    history, archive = open_history(NOON)
    archive._file._writer.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match="full"):
        history.append([EVENTS[0]._replace(query="x" * 100_000)])
    assert history.last(["u"], 9) == [[]]


def test_an_archive_is_no_store_and_a_folder_without_one_is_said(open_history, tmp_path):
    open_history(NOON)
    with contextlib.closing(open_stores(f"archive:{tmp_path}/archive")) as stores:
        for ask in (lambda: stores.history.last(["u"], 1), lambda: stores.history.append(EVENTS),
                    stores.history.trim, lambda: stores.profiles.get(["u"])):
            with pytest.raises(StoreError, match="Serve a store"):
                ask()
    with pytest.raises(StoreError, match="holds no events"):
        open_stores(f"archive:{tmp_path}/none")
