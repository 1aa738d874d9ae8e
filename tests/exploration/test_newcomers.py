"""What users of few events are shown: the curve, the file, and the choice between channels."""

import json

import numpy as np
import pytest

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.exploration import ChannelCounts, EpsilonGreedy, Newcomers, NewcomerShares, Thompson


def test_the_share_halves_with_events_and_holds_on_average():
    shares = NewcomerShares(Newcomers(share=0.8, half_after=5.0), seed=0)
    assert [shares.settings.of(n) for n in (0, 5, 10)] == pytest.approx([0.8, 0.4, 0.2])
    assert shares.places("u", 0, 10, "u2i") == {"popular": 8, "u2i": 2}
    assert shares.places("u", 5, 10, "u2i") == {"popular": 4, "u2i": 6}
    given = [shares.places("u", 10, 1, "u2i").get("popular", 0) for _ in range(2000)]
    assert np.mean(given) == pytest.approx(0.2, abs=0.03)
    assert shares.places("u", 1000, 10, "u2i") == {"u2i": 10}


def test_a_file_is_read_and_its_mistakes_are_named(tmp_path):
    path = tmp_path / "newcomers.json"
    given = {"channels": ["fresh", "popular"], "half_after": 2, "counts": "c.db",
             "policy": {"type": "EpsilonGreedy", "epsilon": 0.2}}
    path.write_text(json.dumps(given))
    assert Newcomers.read(path) == Newcomers(("fresh", "popular"), 0.8, 2, EpsilonGreedy(0.2), "c.db")
    for wrong, words in (("[]", "hold an object"), ("{", "cannot be read"), ('{"shares": 1}', "Did you mean `share`"),
                         ('{"share": 2}', "at most 1"), ('{"channels": []}', "1 or more"),
                         ('{"channels": ["a", "b"]}', "name a file")):
        path.write_text(wrong)
        with pytest.raises(ConfigError, match=words):
            Newcomers.read(path)


def test_repeated_showings_and_clicks_of_a_user_count_once(tmp_path):
    counts = ChannelCounts(tmp_path / "c.db", ["only"])
    random = np.random.default_rng(0)
    for _ in range(3):
        assert counts.choose(Thompson(), "u", random) == "only"
    counts.choose(Thompson(), "", random)  # of no user: it cannot be assigned
    counts.shown("u", "only", ["a", "b"])
    assert counts.click([("u", "c"), ("v", "a")]) == 0  # another item, another user
    assert counts.click([("u", "a"), ("u", "b"), ("u", "a")]) == 1
    assert counts.counts() == {"only": (1, 1)}
    counts.choose(Thompson(), "w", random)
    counts.shown("w", "only", [])  # the channel had nothing to show, so it is no worse for that
    counts.shown("u", "only", [])
    assert counts.counts() == {"only": (1, 1)}
    counts.close()


def test_the_better_channel_wins(tmp_path):
    """Users click what `good` shows and never what `bad` shows."""
    shares = NewcomerShares(Newcomers(("bad", "good"), 0.5, counts=f"{tmp_path}/c.db"), seed=0)
    chosen = []
    for user in map(str, range(60)):
        channel = next(iter(shares.places(user, 0, 2, "u2i")))
        shares.shown(user, channel, [1])
        if channel == "good":
            shares.counts.click([(user, "1")])
        chosen.append(channel)
    assert chosen[30:].count("good") > 25
    shares.close()
    again = NewcomerShares(Newcomers(("bad", "good", "new"), 0.5, counts=f"{tmp_path}/c.db"))
    assert again.counts.counts()["good"] == (chosen.count("good"),) * 2 and again.counts.counts()["new"] == (0, 0)
    again.close()
