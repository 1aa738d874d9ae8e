"""The attributes beside an export: what is left out, and what is damaged."""

import pyarrow as pa
import pytest

from tfrs_twotower.errors import ExportError
from tfrs_twotower.exporting import items

LISTED = {"files": {"assets.extra/items.parquet": "a checksum"}}


def test_vectors_and_what_is_nested_are_left_out(tmp_path):
    table = pa.table({
        "item_id": [1, 2], "image": [[0.5], [1.5]], "name": ["é", None], "tags": [["x"], None], "sizes": [[1], []],
        "parts": [[[1]], [[2]]], "maker": [{"name": "a"}, {"name": "b"}], "new": [True, None],
    })
    items.write(tmp_path, table)
    assert items.read(tmp_path, LISTED).equals(table.select(["item_id", "name", "tags", "sizes", "new"]))
    assert items.read(tmp_path, {}) is None


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ExportError, match="items.parquet cannot be read"):
        items.read(tmp_path, LISTED)
    items.write(tmp_path, pa.table({"item_id": [1]}))
    path = tmp_path / "assets.extra" / "items.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ExportError, match="Export again"):
        items.read(tmp_path, LISTED)
