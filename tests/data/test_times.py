"""Times: every form becomes the same second, and what numbers count is found by their size."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.data import Columns, Files, Frames, ingest
from tfrs_twotower.errors import DataError

NOON = 1_600_000_000  # 2020-09-13 12:26:40 UTC
DAY = 1_599_955_200  # its midnight


def events(times):
    n = len(times)
    return pa.table({"user_id": ["a"] * n, "item_id": ["x"] * n, "timestamp": times})


@pytest.mark.parametrize("values, unit", [
    (pa.array([NOON]), "s"),
    (pa.array([NOON * 1000 + 999]), "ms"),
    (pa.array([NOON * 10**6 + 1]), "us"),
    (pa.array([NOON * 10**9 + 1]), "ns"),
    (pa.array([NOON + 0.75]), "s"),
    (pa.array([f"{NOON}.5"]), "s"),
    (pa.array([str(NOON * 1000)]), "ms"),
    (pa.array(["2020-09-13T12:26:40"]), "s"),
    (pa.array(["2020-09-13 12:26:40.900"]), "s"),
    (pa.array(["2020-09-13T14:26:40+02:00"]), "s"),
    (pa.array(["2020-09-13T12:26:40Z"]), "ms"),
    (pa.array([datetime.datetime(2020, 9, 13, 12, 26, 40, 7)]), "s"),
    (pa.array([NOON * 1000], pa.timestamp("ms", tz="Europe/Paris")), "s"),
])
def test_every_form_of_time_becomes_the_same_second(values, unit):
    assert ingest(Frames(events(values), columns=Columns(time_unit=unit)))[0].timestamp.tolist() == [NOON]


def test_a_date_is_its_midnight():
    assert ingest(Frames(events([datetime.date(1970, 1, 3)])))[0].timestamp.tolist() == [2 * 86_400]


@pytest.mark.parametrize(("times", "seconds", "said"), [
    ([20200913, 20200914], [DAY, DAY + 86_400], "20200913 are read as digits of a date"),
    (["20200913", "20200914"], [DAY, DAY + 86_400], "20200913 are read as digits of a date"),
    ([20200913.0, 20200914.0], [DAY, DAY + 86_400], "20200913 are read as digits of a date"),
    ([20200913122640, 20200913122641], [NOON, NOON + 1], "20200913122640 are read as digits of a date"),
    (["202009131226", "202009131227"], [NOON - 40, NOON + 20], "202009131226 are read as digits of a date"),
    ([2020091312, 2020091313], [DAY + 43_200, DAY + 46_800], "2020091312 are read as digits of a date"),
    ([202009, 202010], [DAY - 12 * 86_400, DAY + 18 * 86_400], "202009 are read as digits of a date"),
    ([44087, 44088], [DAY, DAY + 86_400], "44087 are read as Excel's days"),
    (["44087.5185185185", "44088"], [NOON, DAY + 86_400], "are read as Excel's days"),
    ([NOON * 1000, NOON * 1000 + 1999], [NOON, NOON + 1], "are read as milliseconds since 1970"),
    ([str(NOON * 1000), f"{NOON * 1000}.0"], [NOON] * 2, "are read as milliseconds since 1970"),
    ([NOON * 1e6, NOON * 1e6], [NOON] * 2, "are read as microseconds since 1970"),
    ([NOON * 10**9, NOON * 10**9], [NOON] * 2, "are read as nanoseconds since 1970"),
    ([1, 2], [1, 2], "such as 1 are no dates; they are read as seconds, for their order"),
])
def test_what_numbers_count_is_found_by_their_size_and_said(times, seconds, said):
    log, report = ingest(Frames(events(times)))
    assert log.timestamp.tolist() == seconds and report.rejected == {}
    (note,) = report.notes
    assert said in note and "`--time-unit" in note


@pytest.mark.parametrize(("first", "last"), [(0, 3), (1, 10), (1, 2_100), (0, 80_000), (190_000, 210_000)])
def test_places_in_an_order_are_no_years_days_or_dates(first, last):
    places = np.arange(first, last)
    for rows in (places, places[::-1], np.random.default_rng(0).permutation(places)):
        log, _ = ingest(Frames(events(rows)))
        assert log.timestamp.tolist() == places.tolist()


def test_seconds_are_nothing_to_speak_of():
    dates = [1512010100, 1601020100]  # of 2017 and 2020, and with the digits of days of 1512 and 1601
    for times in ([NOON, NOON + 1], dates):
        log, report = ingest(Frames(events(times)))
        assert log.timestamp.tolist() == times and report.notes == ()


def test_all_formats_find_the_same(tmp_path):
    import pyarrow.csv
    import pyarrow.parquet

    pyarrow.parquet.write_table(events([20200914, 20200913]), tmp_path / "log.parquet")
    pyarrow.csv.write_csv(events([20200914, 20200913]), tmp_path / "log.csv")
    for ending in ("parquet", "csv"):
        assert ingest(Files(f"{tmp_path}/log.{ending}"))[0].timestamp.tolist() == [DAY, DAY + 86_400]


def test_a_unit_that_is_given_is_not_doubted():
    for unit, second in (("s", 20200913), ("h", 20200913 * 3600), ("excel", None), ("d", None)):
        source = Frames(events([20200913]), columns=Columns(time_unit=unit))
        if second and second < 4e9:
            log, report = ingest(source)
            assert log.timestamp.tolist() == [second] and report.notes == ()
        else:
            with pytest.raises(DataError, match="outside of"):
                ingest(source)
    assert ingest(Frames(events([2.5]), columns=Columns(time_unit="d")))[0].timestamp.tolist() == [216_000]


def test_years_are_refused_with_what_works_instead():
    with pytest.raises(DataError, match="the times look like years, such as 2019.*`--timestamp none`"):
        ingest(Frames(events([2019, 2020, 2021])))
    log, _ = ingest(Frames(events([2019, 2020]), columns=Columns(time_unit="s")))
    assert log.timestamp.tolist() == [2019, 2020]


def test_a_date_that_the_calendar_lacks_is_a_bad_row():
    times = [20200900 + day for day in range(1, 31)] * 4 + [20200931]
    log, report = ingest(Frames(events(times)))
    assert len(log) == 120 and report.rejected == {"timestamp: not a time": 1}


def test_times_of_two_units_are_not_taken_for_one():
    with pytest.raises(DataError, match="Some of the times look like ms, and the others do not: convert them to one"):
        ingest(Frames(events([NOON * 1000, NOON])))
    with pytest.raises(DataError, match="The times look like ms: add `--time-unit ms`"):
        ingest(Frames(events([NOON * 1000, NOON * 1000]), columns=Columns(time_unit="s")))


def test_a_text_that_is_no_time_is_shown_with_the_forms_that_are():
    with pytest.raises(DataError, match="not a time: 2, such as '11/14/2023'.* A time is .* ISO 8601 text"):
        ingest(Frames(events(["11/14/2023", "11/15/2023"])))


@pytest.mark.parametrize("times", [[-5, -6], [datetime.datetime(2200, 1, 1)] * 2, ["2200-01-01", "-1"]])
def test_other_times_out_of_range_hint_at_no_unit(times):
    with pytest.raises(DataError, match="outside of") as error:
        ingest(Frames(events(times)))
    assert "--time-unit" not in str(error.value)
