"""Local times against zoneinfo, the calendar against datetime, holidays, and places."""

import datetime
import zoneinfo

import numpy as np
import pyarrow as pa
import pytest

from tests.features.test_fields import encode, field
from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features import Location, Time
from tfrs_twotower.features.calendar import offset_changes

PARTS = ("hour", "weekday", "month", "season")


def _moments(zone, n=300):
    """Random moments until 2090, and those around the changes of the zone's offset."""
    changes = offset_changes(zone)[0][1:40]
    drawn = np.random.default_rng(0).integers(1, 3_786_912_000, n)
    return np.concatenate([drawn, changes, changes - 1])


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Africa/Casablanca"])
def test_local_parts_are_those_of_zoneinfo(zone):
    times, where = _moments(zone), zoneinfo.ZoneInfo(zone)
    fixed = field(Time("t", PARTS, zone=zone), {"t": times})
    told = field(Time("t", PARTS, zone_column="z"), {"t": times, "z": [zone, "Asia/Tokyo"] * (len(times) // 2)})
    local = [datetime.datetime.fromtimestamp(int(t), where) for t in times]
    expected = {
        "hour": [d.hour for d in local], "weekday": [d.weekday() for d in local],
        "month": [d.month - 1 for d in local], "season": [d.month % 12 // 3 for d in local],
    }
    for found in (encode(fixed, t=times), encode(told, t=times, z=[zone] * len(times))):
        for part, values in expected.items():
            np.testing.assert_array_equal(found[part], values, part)


def test_an_unknown_zone_is_utc_and_the_state_is_enough():
    made = field(Time("t", ("hour",), zone_column="z"), {"t": [1, 2], "z": ["Asia/Tokyo", "No/Where"]})
    again = Time("t", ("hour",), zone_column="z").build(0)
    again.load_state(made.state())
    for one in (made, again):
        asked = encode(one, t=[7200] * 3, z=["Asia/Tokyo", "No/Where", ""])
        assert asked["hour"].numpy().tolist() == [11, 2, 2]
    assert made.state()["zones"].tolist() == ["Asia/Tokyo"]


def test_holidays_are_those_of_the_country():
    pytest.importorskip("holidays")
    made = field(Time("t", ("holiday",), holidays="DE", zone="Europe/Berlin"), {"t": [1]})
    days = ["2023-12-24T12:00+01:00", "2023-12-25T00:30+01:00", "2023-12-27T12:00+01:00", "2031-10-03T12:00+02:00"]
    times = [int(datetime.datetime.fromisoformat(day).timestamp()) for day in days]
    assert encode(made, t=times)["holiday"].numpy().tolist() == [2, 1, 0, 1]
    with pytest.raises(ConfigError, match="Time.holidays"):
        field(Time("t", ("holiday",), holidays="XX"), {"t": [1]})


def test_places_share_cells_and_point_apart():
    berlin, potsdam, sydney = (52.52, 13.405), (52.51, 13.39), (-33.87, 151.21)
    table = dict(zip(("latitude", "longitude"), zip(berlin, potsdam, sydney)))
    made = field(Location(cells=(3, 6), dim=4), table)
    found = encode(made, latitude=[*table["latitude"], 0.0, float("nan")], longitude=[*table["longitude"], 0.0, 0.0])
    index, point = found["index"].numpy(), found["point"].numpy()
    assert index[0, 0] == index[1, 0] > 0 and index[0, 1] != index[1, 1]  # the same large cell, another small one
    assert index[3:].tolist() == [[0, 0], [0, 0]]  # not learned; missing
    angle = np.degrees(np.arccos(point[0] @ point[2]))
    assert angle * 111.19 == pytest.approx(16_094, abs=30)  # km from Berlin to Sydney
    assert not made(found).numpy()[4].any()


@pytest.mark.parametrize("wrong, expected", [
    (lambda: Time("t", zone="Mars/Base"), "Time.zone"),
    (lambda: Time("t", zone="UTC", zone_column="z"), "Time.zone"),
    (lambda: Time("t", ("holiday",)), "Time.holidays"),
    (lambda: Location(cells=(9,)), "cells"),
])
def test_wrong_settings(wrong, expected):
    with pytest.raises(ConfigError, match=expected):
        wrong()


def test_rare_cells_are_not_learned():
    made = field(Location(cells=(4,), min_count=2), {"latitude": [1.0, 1.0, 50.0], "longitude": [1.0, 1.0, 5.0]})
    assert encode(made, latitude=[1.0, 50.0], longitude=[1.0, 5.0])["index"].numpy().tolist() == [[1], [0]]
    assert isinstance(made.state()["keys"], np.ndarray) and pa.array(made.state()["keys"]).type == pa.int64()
