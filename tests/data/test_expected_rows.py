"""How many rows a source says that it has, and the bar over them."""

import gzip
import json

import pandas as pd
import pytest

from tests.bars import remembered
from tfrs_twotower.data import Columns, Files, Frames, Joined, Prepared, Source, counted, ingest, prepare
from tfrs_twotower.errors import DataError

ROWS = 20_000


@pytest.fixture
def frame():
    """Lines of one length, so that each part of a text has as many rows as its share of the bytes."""
    return pd.DataFrame({"user_id": range(10_000, 10_000 + ROWS), "item_id": 7, "timestamp": 1_700_000_000})


def _files(path):
    return Files(str(path)).expected_rows()


def test_a_text_has_as_many_rows_as_its_first_megabyte_lets_expect(tmp_path, frame):
    frame.to_csv(tmp_path / "log.csv", index=False, header=False)
    assert _files(tmp_path / "log.csv") == ROWS
    long = (tmp_path / "log.csv").read_bytes() * 10  # 3.8 MB
    (tmp_path / "long.csv").write_bytes(long)
    assert _files(tmp_path / "long.csv") == pytest.approx(10 * ROWS, rel=0.001)
    (tmp_path / "long.csv.gz").write_bytes(gzip.compress(long))
    assert _files(tmp_path / "long.csv.gz") == pytest.approx(10 * ROWS, rel=0.1)


def test_json_is_counted_by_the_names_and_sequences_by_the_items(tmp_path, frame):
    frame.to_json(tmp_path / "log.jsonl", orient="records", lines=True)
    (tmp_path / "list.json").write_text(json.dumps(frame.to_dict("records"), indent=1))
    for name in ("log.jsonl", "list.json"):
        assert _files(tmp_path / name) == pytest.approx(ROWS, rel=0.001)
    (tmp_path / "baskets.txt").write_text("\n".join(f"{user} 1 2 3" for user in range(100)))
    assert Files(str(tmp_path / "baskets.txt"), format="sequences").expected_rows() == 300


def test_of_several_files_the_largest_tells(tmp_path, frame):
    for name, rows in (("a", 0), ("b", ROWS)):
        (tmp_path / "text").mkdir(exist_ok=True)
        frame[:rows].to_csv(tmp_path / "text" / f"{name}.csv", index=False)
        (tmp_path / "parquet").mkdir(exist_ok=True)
        frame[:rows].to_parquet(tmp_path / "parquet" / f"{name}.parquet")
    assert _files(tmp_path / "text") == pytest.approx(ROWS, rel=0.001)
    assert _files(tmp_path / "parquet" / "b.parquet") == ROWS
    assert _files(tmp_path / "parquet") == pytest.approx(ROWS, rel=0.1)  # the empty file has bytes too


def test_other_sources(tmp_path, frame):
    assert Source().expected_rows() is None
    frames = Frames(frame)
    assert frames.expected_rows() == ROWS and Joined((frames, frames)).expected_rows() == 2 * ROWS
    assert Joined((frames, Source())).expected_rows() is None
    prepare(frames, tmp_path / "dataset")
    assert Prepared(str(tmp_path / "dataset")).expected_rows() == ROWS


@pytest.fixture
def shown(monkeypatch):
    found, bar = remembered()
    monkeypatch.setattr(counted, "bar", bar)
    return found


def test_rows_that_a_condition_leaves_out_are_read_as_well(tmp_path, frame, shown):
    frame.assign(item_id=range(ROWS)).to_parquet(tmp_path / "log.parquet")
    log, _ = ingest(Files(str(tmp_path / "log.parquet"), where=(("item_id", "<", 5),)))
    assert len(log) == 5 and shown == {"Reading the log": [ROWS, ROWS]}


def test_a_source_that_cannot_tell_is_read_without_a_total(frame, shown, monkeypatch):
    def damaged(self):
        raise DataError("The largest file is damaged.")

    monkeypatch.setattr(Frames, "expected_rows", damaged)
    ingest(Frames(frame, columns=Columns()))
    assert shown == {"Reading the log": [None, ROWS]}
