"""Which user has which arm, and what an arms file may say."""

import json

import pytest

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.experiments import Arm, Arms, read_arms

USERS = [f"user{n}" for n in range(20_000)]


def assigned(*shares, salt="s"):
    arms = Arms(tuple(Arm(f"arm{n}", share) for n, share in enumerate(shares)), salt)
    return [arms.of(user).name for user in USERS]


def test_users_are_split_by_the_shares_and_a_user_stays():
    found = assigned(0.5, 0.3, 0.2)
    for n, share in enumerate((0.5, 0.3, 0.2)):
        assert found.count(f"arm{n}") / len(USERS) == pytest.approx(share, abs=0.015)  # 4 standard errors
    assert found == assigned(0.5, 0.3, 0.2)


def test_a_changed_share_moves_users_to_the_growing_arm_alone():
    before, after = assigned(0.9, 0.1), assigned(0.8, 0.2)
    moved = [(b, a) for b, a in zip(before, after) if b != a]
    assert set(moved) == {("arm0", "arm1")} and len(moved) / len(USERS) == pytest.approx(0.1, abs=0.01)
    three, grown = assigned(0.8, 0.1, 0.1), assigned(0.7, 0.2, 0.1)
    assert sum(b != a for b, a in zip(three, grown)) / len(USERS) < 0.13  # at least 0.1 have to


def test_the_split_of_another_salt_is_independent():
    first, second = assigned(0.5, 0.5), assigned(0.5, 0.5, salt="t")
    assert sum(a == b for a, b in zip(first, second)) / len(USERS) == pytest.approx(0.5, abs=0.015)


def test_who_has_no_id_has_the_control_and_no_shadow():
    arms = Arms((Arm("a", 0.0), Arm("b", 1.0), Arm("c", 1.0, shadow=True)), "s")
    assert arms.of("").name == "a" and arms.of("7").name == "b"
    assert [arm.name for arm in arms.shadows("7")] == ["c"] and arms.shadows("") == []


def test_a_file_of_arms_is_read(tmp_path):
    (tmp_path / "arms.json").write_text(json.dumps({"salt": "x", "arms": [
        {"name": "control", "share": 0.5}, {"name": "b", "share": 0.5, "channels": {"i2i": 2}, "version": 3},
        {"name": "c", "share": 0.1, "shadow": True, "root": "other/export", "popularity_beta": -1}]}))
    arms = read_arms(tmp_path / "arms.json")
    assert arms.control == Arm("control", 0.5) and arms.arms[1].channels == {"i2i": 2}
    assert arms.arms[2] == Arm("c", 0.1, root="other/export", popularity_beta=-1, shadow=True)


@pytest.mark.parametrize("arms, says", [
    ([{"name": "a", "share": 0.5}], r"must add up to 1 .* Received: share=0.5"),
    ([{"name": "a", "share": 1}, {"name": "b", "share": 1.5}], r"arms\[1\]: `Arm.share` must be"),
    ([{"name": "a", "shares": 1}], r"arms\[0\]: `Arm` has no field `shares`. Did you mean `share`"),
    ([{"name": "a", "share": "half"}], r"arms\[0\]: `Arm.share` must be a finite number.* Use another value."),
    ([{"name": "a"}], r"arms\[0\]: `Arm` needs the field `share`"),
    ([{"name": "a", "share": 0.5}, {"name": "a", "share": 0.5}], "different names"),
    ([{"name": "a:b", "share": 1}], r"arms\[0\]: `name` must have"),
    ([{"name": "a", "share": 1, "shadow": True}], "cannot be a shadow"),
    ([{"name": "a", "share": 1, "channels": {"i2i": -1}}], r"arms\[0\]: `channels.i2i` must be a whole number"),
    ([{"name": "a", "share": 1, "channels": 3}], r"arms\[0\]: `Arm.channels` must be"),
    ([{"name": "a", "share": 1, "type": "Recipe"}], r"arms\[0\]: `Arm` has no field `type`"),
    ([1], r"arms\[0\]: An arm must be an object"),
    ({}, '"arms", a list'),
])
def test_a_wrong_file_is_refused_with_the_place(tmp_path, arms, says):
    path = tmp_path / "arms.json"
    path.write_text(json.dumps({"salt": "x", "arms": arms}))
    with pytest.raises(ConfigError, match=says) as refused:
        read_arms(path)
    assert "arms.json" in str(refused.value)


@pytest.mark.parametrize("text", ["", "[", '{"arms": []}', '{"salt": 3, "arms": []}', "[1]"])
def test_what_is_no_file_of_arms_is_refused(tmp_path, text):
    (tmp_path / "arms.json").write_text(text)
    with pytest.raises(ConfigError, match="arms.json") as refused:
        read_arms(tmp_path / "arms.json")
    assert "JSON" in str(refused.value) or 'For example: {"salt": "2026-11"' in str(refused.value)
