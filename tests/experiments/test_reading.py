"""Which events count for which user of an experiment."""

import json

import pytest

from tfrs_twotower.cli.main import main
from tfrs_twotower.experiments import read_participants
from tfrs_twotower.online import Answer, AnswerLog, Event, Impression, open_stores

DAY = 86_400


@pytest.fixture
def log(tmp_path):
    log = AnswerLog(tmp_path / "log")
    yield log
    log.close()


@pytest.fixture
def stores(tmp_path):
    stores = open_stores(f"sqlite:{tmp_path}/store.db")
    yield stores
    stores.close()


def answered(log, *rows):
    """Keeps answers (id, user, time, arm, items)."""
    log.record([Answer(name, user, at, 1, arm, {}, {}, [(item, "u2i", 1.0) for item in items])
                for name, user, at, arm, items in rows])


def did(stores, *rows):
    """Keeps events (user, item, time, kind, answer)."""
    stores.history.append([Event(f"e{n}", user, item, at, kind, answer)
                           for n, (user, item, at, kind, answer) in enumerate(rows)])


def test_events_count_by_their_answer_or_by_user_item_and_time(log, stores):
    answered(log, ("a1", "7", 1000, "a", "xy"), ("a2", "7", 2000, "a", "z"), ("a3", "8", 1000, "b", "x"))
    did(stores,
        ("7", "x", 1500, "click", "a1"), ("7", "q", 1500, "click", "a1"),  # it names the answer, whatever the item
        ("7", "x", 1000 + 599, "click", ""), ("7", "x", 1000 + 600, "click", ""),  # within, and past it
        ("7", "x", 999, "click", ""), ("7", "z", 1999, "click", ""),  # before the answers
        ("7", "x", 1500, "buy", "a1"), ("8", "x", 1500, "click", "a1"),  # another kind, another user's answer
        ("9", "x", 1500, "click", ""))
    found = read_participants(log.folder, stores, "click", within=600)
    assert (found.arm.tolist(), found.answers.tolist(), found.events.tolist()) == (["a", "b"], [2, 1], [3, 0])
    assert (found.moved, found.cut) == (0, 0)


def test_an_answer_from_which_a_later_stage_took_the_item_did_not_show_it(log, stores):
    answered(log, ("a1", "7", 1000, "a", "xy"), ("a2", "8", 1000, "b", "xy"))
    log.saw([Impression("1", "a1", 1001, [], [0]), Impression("2", "a2", 1700, [], [0])])  # the second is too late
    did(stores, *((user, item, 1500, "click", "") for user in "78" for item in "xy"))
    assert read_participants(log.folder, stores, "click", within=600).events.tolist() == [1, 2]


def test_what_users_did_before_is_from_before_the_experiment_if_since_is_inside_it(log, stores):
    answered(log, ("a1", "7", DAY, "a", "x"), ("a2", "7", 3 * DAY, "a", "x"), ("a3", "8", 3 * DAY, "b", "x"),
             ("a4", "9", DAY, "shadow:c", "x"), ("a5", "9", 2 * DAY, "", "x"), ("a6", "9", 3 * DAY, "b", "x"))
    did(stores, *((user, "x", at, "click", "") for user in "789" for at in (DAY - 1, 2 * DAY - 9, 2 * DAY)))
    found = read_participants(log.folder, stores, "click", since=2 * DAY + 1, before_days=3)
    assert (found.before.tolist(), found.inside) == ([1, 3, 3], 1)
    found = read_participants(log.folder, stores, "click", since=2 * DAY + 1, before_days=1)
    assert found.before.tolist() == [1, 1, 1]  # of user 7, the day before the first answer of all
    assert read_participants(log.folder, stores, "click", before_days=3).inside == 0


def test_users_without_id_or_arm_or_with_several_arms_do_not_count_nor_do_shadows(log, stores):
    answered(log, ("a1", "", 1, "a", "x"), ("a2", "5", 1, "", "x"), ("a3", "6", 1, "a", "x"), ("a4", "6", 2, "b", "x"),
             ("a5", "7", 1, "a", "x"), ("a6", "7", 1, "shadow:c", "x"))
    found = read_participants(log.folder, stores, "click")
    assert (found.arm.tolist(), found.answers.tolist(), found.moved) == (["a"], [1], 1)


def test_days_count_the_same_time_of_each_user_and_before_is_before_the_first_answer(log, stores):
    answered(log, ("a1", "7", DAY, "a", "x"), ("a2", "7", 2 * DAY, "a", "x"), ("a3", "8", 3 * DAY, "b", "x"))
    did(stores, ("7", "x", DAY + 1, "click", "a1"), ("7", "x", 2 * DAY + 1, "click", "a2"),
        ("7", "x", DAY - 1, "click", ""), ("7", "y", DAY // 2, "click", ""), ("7", "y", DAY // 2 - 1, "click", ""))
    found = read_participants(log.folder, stores, "click", days=1, before_days=0.5)
    assert found.arm.tolist() == ["a"]  # the day of user 8 is not over at the last answer
    assert (found.answers.tolist(), found.events.tolist(), found.before.tolist()) == ([1], [1], [2])


def test_the_verb_prints_a_table_and_json(log, stores, tmp_path, capsys):
    answered(log, *((f"a{n}", str(n), 10, "ab"[n % 2], "x") for n in range(40)))
    did(stores, *((str(n), "x", 20, "click", f"a{n}") for n in range(40) if n % 4))
    (tmp_path / "arms.json").write_text(json.dumps({
        "salt": "", "arms": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]}))
    command = ["experiment", str(log.folder), "--store", f"sqlite:{tmp_path}/store.db", "--metric", "click"]
    assert main([*command, "--arms", str(tmp_path / "arms.json")]) == 0
    head, first, second, _, fits = capsys.readouterr().out.splitlines()
    assert head.split() == ["arm", "users", "answers", "events", "rate", "difference", "interval", "p"]
    assert first.split() == ["a", "20", "20", "10", "0.5000"]
    assert second.split()[:6] == ["b", "20", "20", "20", "1.0000", "+0.5000"] and fits.endswith("p = 1.")
    assert main([*command, "--control", "b", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["difference"] for row in said["arms"]] == [None, -0.5] and said["imbalance_p"] is None
    assert main(command) == 1 and "`--control` must name an arm" in capsys.readouterr().err
    assert main([*command, "--control", "c"]) == 1 and "must have users" in capsys.readouterr().err
    assert main([*command, "--control", "a", "--since", "1970-01-02"]) == 1
    assert "must hold answers of arms" in capsys.readouterr().err
    assert main([*command[:-1], "clik", "--control", "a"]) == 0
    assert "No event of the kind `clik` came from these answers." in capsys.readouterr().out
