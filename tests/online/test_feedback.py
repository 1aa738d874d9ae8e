"""What was chosen, and what was shown and not chosen, by hand-made answers and events."""

import json
import random

import pyarrow as pa
import pytest

from tfrs_twotower.online import Answer, AnswerLog, Event, Impression, new_answer_id, open_stores
from tfrs_twotower.online.feedback import feedback

NOON = 1_796_040_000  # 2026-11-30T12:00:00Z


@pytest.fixture
def written(tmp_path):
    """(the store's address, the log's folder), of the answers and events below."""
    write_all(tmp_path)
    return f"sqlite:{tmp_path}/store.db", str(tmp_path / "log")


def answer(name, user, at, items, arm=""):
    return Answer(name, user, at, 7, arm, {}, {"age": len(name)}, [(item, "u2i", 1.0) for item in items])


ANSWERS = [
    answer("clicked", "u", NOON, "abcde", "b"),          # c, then a by its id: b was passed over, d and e not seen
    answer("seen", "u", NOON + 10, "fgh"),               # the client says: f and h
    answer("nothing", "u", NOON + 20, "xy"),             # nobody says anything
    answer("again", "v", NOON + 4000, "pq"),             # in the next hour
    answer("later", "v", NOON + 4100, "qp"),             # the event below belongs to it, and is chosen in both
    answer("stranger", "", NOON + 30, "ab"),
    answer("young", "v", NOON + 9000, "rs"),             # its time is not over
    answer("unseen", "u", NOON + 15, "cab", "shadow:x"),  # nobody saw it: it is no answer of the events
]
SEEN = [Impression("1", "seen", NOON + 12, [0], []), Impression("2", "seen", NOON + 13, [0, 2], [1]),
        Impression("3", "gone", NOON + 13, [0], []), Impression("4", "stranger", NOON + 31, [0, 1, 99], []),
        Impression("5", "young", NOON + 9001, [0, 1], [])]
EVENTS = [
    Event("1", "u", "c", NOON + 60, "click", dwell=2.5),
    Event("2", "u", "a", NOON + 3599, "buy", "clicked", None, None, 9.0),
    Event("3", "u", "z", NOON + 70, "view", "clicked", 4),  # not in the answer that it names
    Event("4", "u", "f", NOON + 5000, "click"),           # too late
    Event("5", "v", "q", NOON + 4200, "dislike"),
    Event("6", "v", "", NOON + 4300, "search", query="red shoes"),
    Event("7", "w", "a", NOON - 1),
    Event("8", "w", "a", NOON + 9999),
]


def write_all(folder, answers=ANSWERS, seen=SEEN, events=EVENTS):
    stores = open_stores(f"sqlite:{folder}/store.db")
    stores.history.append(events)
    stores.close()
    log = AnswerLog(folder / "log", clock=lambda: NOON + 4500)
    log.record(answers)
    log.saw(seen)
    log.rotate()
    log.close()


def rows(written, since, until, within=3600):
    stores = open_stores(written[0])
    found = [row for table in feedback(stores.history, [written[1]], since, until, within) for row in table.to_pylist()]
    stores.close()
    return {row["event_id"]: row for row in found}, len(found)


def test_rows_are_as_counted_by_hand(written):
    found, count = rows(written, NOON, NOON + 9500)
    assert count == len(found)
    assert {name: (row["user_id"], row["item_id"], row["event"], row["label"], row["place"])
            for name, row in found.items()} == {
        "1": ("u", "c", "click", 1, 2), "2": ("u", "a", "buy", 1, 0), "3": ("u", "z", "view", 1, 4),
        "4": ("u", "f", "click", 1, None), "5": ("v", "q", "dislike", 0, 0), "6": ("v", "", "search", 1, None),
        "shown:clicked:1": ("u", "b", "shown", 0, 1), "shown:seen:0": ("u", "f", "shown", 0, 0),
        "shown:seen:2": ("u", "h", "shown", 0, 2), "drop:seen:1": ("u", "g", "drop", 0, 1),
        "shown:again:0": ("v", "p", "shown", 0, 0),
    }
    assert [found[name]["answer"] for name in "12345"] == ["clicked", "clicked", "clicked", "", "later"]
    assert (found["1"]["dwell"], found["2"]["value"], found["1"]["version"], found["1"]["arm"]) == (2.5, 9.0, 7, "b")
    assert json.loads(found["shown:seen:0"]["features"]) == {"age": 4} and found["4"]["features"] is None
    assert found["shown:clicked:1"]["timestamp"] == NOON + 3600  # when it is known that it was not chosen


def test_times_side_by_side_have_each_row_once(written):
    whole, _ = rows(written, NOON - 100, NOON + 20_000)
    parts, total = {}, 0
    for since in range(NOON - 100, NOON + 20_000, 300):
        found, count = rows(written, since, min(since + 300, NOON + 20_000))
        parts, total = parts | found, total + count
    assert parts == whole and total == len(whole)
    assert {"7", "8", "shown:young:0", "shown:young:1"} <= set(whole)


def one_by_one(since, until, within, answers, seen, events):
    """What `feedback` says, an event and a place at a time: {(user, id): (item, label, answer, place)}."""
    found, of = {}, {a.answer_id: a for a in answers}
    said = {a.answer_id: [s for s in seen if s.answer_id == a.answer_id and s.timestamp < a.timestamp + within]
            for a in answers}
    dropped = {name: {place for s in of_answer for place in s.dropped} for name, of_answer in said.items()}

    def chosen(a, item):
        return any(e.item_id == item and (e.user_id == a.user_id or e.answer == a.answer_id and not a.user_id)
                   and a.timestamp <= e.timestamp < a.timestamp + within for e in events if e.timestamp < until)

    for e in events:
        if since <= e.timestamp < until:
            showed = [a for a in answers if a.user_id == e.user_id and a.timestamp <= e.timestamp < a.timestamp + within
                      and any(item == e.item_id and place not in dropped[a.answer_id]
                              for place, (item, *_) in enumerate(a.items))]
            named = of.get(e.answer) if e.answer and of.get(e.answer, e).user_id in ("", e.user_id) else None
            last = named if e.answer else max(showed, key=lambda a: a.timestamp, default=None)
            items = [item for item, *_ in last.items] if last else []
            found[e.user_id, e.event_id] = (e.item_id, int(e.event != "dislike"), last.answer_id if last else e.answer,
                                            items.index(e.item_id) if e.item_id in items else e.place)
    for a in answers:
        items = [item for item, *_ in a.items]
        left = dropped[a.answer_id]
        shown = {place for s in said[a.answer_id] for place in s.places if place < len(items)}
        shown = shown or set(range(max((n for n, item in enumerate(items) if chosen(a, item) and n not in left),
                                       default=0)))
        for place, item in enumerate(items):
            if a.user_id and since <= a.timestamp + within < until and not chosen(a, item):
                for kind in ["drop"] if place in left else ["shown"] if place in shown else []:
                    found[a.user_id, f"{kind}:{a.answer_id}:{place}"] = (item, 0, a.answer_id, place)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_many_answers_and_events_are_joined_as_one_by_one(tmp_path, seed):
    luck = random.Random(seed)
    times, later = luck.sample(range(NOON, NOON + 9000), 40), luck.sample(range(NOON, NOON + 12_000), 60)
    lists = [[f"i{i}" for i in luck.sample(range(8), luck.randrange(6))] for _ in times]
    answers = [answer(new_answer_id(at), luck.choice(["u", "v", ""]), at, lists[n]) for n, at in enumerate(times)]
    seen = [Impression(str(n), a.answer_id, a.timestamp + luck.choice([9, 3599, 3600, 9000]), [luck.randrange(6)],
                       luck.choices(range(6), k=n % 2))
            for n, a in enumerate(luck.sample(answers, 15))]
    events = [Event(str(n), luck.choice("uvw"), f"i{luck.randrange(9)}", at, luck.choice(["click", "dislike"]),
                    luck.choice(["", "", "unknown", luck.choice(answers).answer_id]), luck.choice([None, 5]))
              for n, at in enumerate(later)]
    write_all(tmp_path, answers, seen, events)
    since, until, within = NOON + luck.randrange(2000), NOON + luck.randrange(6000, 20_000), luck.choice([3600, 9000])
    written = f"sqlite:{tmp_path}/store.db", str(tmp_path / "log")
    stores = open_stores(written[0])
    found = [row for table in feedback(stores.history, [written[1]], since, until, within) for row in table.to_pylist()]
    stores.close()
    assert {(row["user_id"], row["event_id"]): (row["item_id"], row["label"], row["answer"], row["place"])
            for row in found} == one_by_one(since, until, within, answers, seen, events)
    assert all(since <= row["timestamp"] < until for row in found)  # no row knows what comes after its time


def test_a_store_without_a_log_gives_its_events(written):
    stores = open_stores(written[0])
    table, = feedback(stores.history, [], NOON, NOON + 100)
    stores.close()
    assert table["event_id"].to_pylist() == ["1", "3"] and table["label"].to_pylist() == [1, 1]


def test_the_last_answer_counts_whichever_server_gave_it(tmp_path):
    (tmp_path / "b").mkdir()
    write_all(tmp_path, [answer("late", "u", NOON + 100, "c")], [], [Event("1", "u", "c", NOON + 200)])
    write_all(tmp_path / "b", [answer("early", "u", NOON + 50, "c")], [], [])
    stores = open_stores(f"sqlite:{tmp_path}/store.db")
    for logs in ([tmp_path / "log", tmp_path / "b" / "log"], [tmp_path / "b" / "log", tmp_path / "log"]):
        *_, table = feedback(stores.history, list(map(str, logs)), NOON, NOON + 1000)
        assert table["answer"].to_pylist() == ["late"]
    stores.close()


def test_an_answer_without_the_item_in_the_end_did_not_show_it(tmp_path):
    """The later answer had it first, and a later stage left it out; the client says nothing else of either."""
    write_all(tmp_path, [answer("early", "u", NOON, "abc"), answer("late", "u", NOON + 50, "cd")],
              [Impression("1", "late", NOON + 51, [], [0])], [Event("1", "u", "c", NOON + 200)])
    found, _ = rows((f"sqlite:{tmp_path}/store.db", str(tmp_path / "log")), NOON, NOON + 4000)
    assert {name: row["answer"] for name, row in found.items()} == {
        "1": "early", "shown:early:0": "early", "shown:early:1": "early"}  # no row says that c was not chosen


def test_an_event_that_came_late_has_its_answer(written):
    stores = open_stores(written[0])
    found = pa.concat_tables(feedback(stores.history, [written[1]], NOON + 86_400, NOON + 90_000, late=86_400))
    stores.close()
    assert dict(zip(found["event_id"].to_pylist(), found["answer"].to_pylist()))["1"] == "clicked"


def test_an_empty_store_gives_no_rows(tmp_path, written):
    assert rows((f"sqlite:{tmp_path}/other.db", written[1]), NOON, NOON + 20_000)[0].keys() == {
        "shown:seen:0", "shown:seen:2", "drop:seen:1", "shown:young:0", "shown:young:1",
    }
