"""The simulated shop of `make loop`: what a list can expect, what people do, and the time that processes share."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("requests")

from notebooks.loop_days import Loop  # noqa: E402
from notebooks.loop_parts import Clock  # noqa: E402
from notebooks.loop_settings import Calendar, Settings  # noqa: E402
from notebooks.loop_world import Shop  # noqa: E402


@pytest.fixture
def shop():
    """Two people, twelve items; the first one likes item 0 alone, the second one all. Nobody reads past the third."""
    clicks = np.zeros((2, 12))
    clicks[0, 0], clicks[1] = 1.0, 0.5
    looks = np.zeros(10)
    looks[:3] = 1.0, 0.5, 0.25
    return Shop(np.array([7, 9]), pd.DataFrame({"item_id": range(12)}), clicks, looks, [None, None])


def test_what_a_list_can_expect(shop):
    assert shop.expected(0, np.array([0, 1, 2])) == 1.0
    assert shop.expected(0, np.array([1, 0, 2])) == 0.5  # it is read by half
    assert shop.expected(1, np.arange(10)) == pytest.approx(0.5 * 1.75)
    assert shop.best([0, 1], np.arange(12)) == pytest.approx((1.0 + 0.875) / 2)
    assert shop.random([0], np.arange(12)) == pytest.approx(1.75 / 12)


def test_people_read_from_the_top_and_click_what_they_like(shop):
    random, acts = np.random.default_rng(0), []
    for _ in range(2000):
        looked, clicked = shop.act(0, np.array([1, 0, 2, *range(3, 10)]), random)
        assert looked == list(range(len(looked))) and 1 <= len(looked) <= 3
        assert clicked == ([1] if len(looked) > 1 else [])
        acts.append(len(looked))
    assert np.mean(acts) == pytest.approx(1.75, abs=0.06)


def test_models_are_compared_for_people_of_the_models_arm(shop):
    """Person 7 has the other arm; its answers and its shadow's do not count."""
    loop = object.__new__(Loop)
    loop.shop, loop.row = shop, {item: item for item in range(12)}
    lists = [("9", "model", [0]), ("7", "best-sellers", [0]), ("9", "shadow:yesterday", [0, 1]),
             ("7", "shadow:yesterday", [0, 1])]
    table = pd.DataFrame(lists, columns=["user_id", "arm", "item_id"])
    assert loop._of_model(table) == [0.5, 0.75]
    assert loop._of_model(table[table.arm != "model"]) == [1.0, 1.0]  # the other arm has won, and serves all


class _Nights:
    """A `Trainer` that says what it is asked for, and publishes nothing."""

    def version(self):
        return "1"

    def train(self, until):
        return "anew"

    def update(self, until):
        return "update"


@pytest.mark.parametrize("anew, expected", [
    (3, ["anew", "update", "update", "anew", "update", "update", "anew"]), (0, ["anew"] + 6 * ["update"]),
])
def test_a_night_trains_from_the_beginning_or_updates(anew, expected):
    """The first of nine days has no training, and the night after the last day has nobody to train for."""
    loop = object.__new__(Loop)
    loop.settings, loop.calendar, loop.trainer, loop.notes = Settings(days=9), Calendar(anew=anew), _Nights(), []
    for day in range(1, 10):
        loop._night(day, 0)
    assert loop.notes == expected


def test_a_process_has_the_time_of_the_clock(tmp_path):
    clock = Clock(tmp_path / "clock")
    clock.set(5.5)
    code = ("import sys; from notebooks.loop_parts import Clock; clock = Clock(sys.argv[1]); print(clock.now());"
            "clock.set(7.25)")
    result = subprocess.run([sys.executable, "-c", code, str(clock.path)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "5.5" and clock.now() == 7.25
