"""Vectors of texts from the model that its package carries, with the network out of reach."""

import dataclasses
import os
import socket
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tfrs_twotower import recipes
from tfrs_twotower.cli.main import build_parser
from tfrs_twotower.cli.update import source_of
from tfrs_twotower.configuration import from_dict, to_dict
from tfrs_twotower.data import Columns, Files, Joined, TextVectors, ingest, joined, parts_of, text_vectors
from tfrs_twotower.errors import ConfigError, DataError, MissingExtraError

TITLES = ["The Empire Strikes Back", "Star Wars spaceship battle", "A love story in Paris", "", "Romantic wedding"]


@pytest.fixture
def files(tmp_path):
    log = pd.DataFrame({"user_id": ["u", "u", "v"], "item_id": ["a", "b", "c"], "timestamp": [1, 2, 3]})
    log.to_csv(tmp_path / "log.csv", index=False)
    items = pa.table({"item_id": ["a", "b", "c", "d", "e"], "title": TITLES, "tagline": ["x", None, "y", None, "z"]})
    pa.parquet.write_table(items, tmp_path / "items.parquet")
    return Files(str(tmp_path / "log.csv"), items_path=str(tmp_path / "items.parquet"))


@pytest.fixture
def no_network(monkeypatch):
    pytest.importorskip("wordllama", reason="needs the extra text")

    def refused(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refused)


def test_near_in_meaning_is_near(no_network):
    found = text_vectors(TITLES)
    assert found.shape == (5, 256) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 1, 0, 1], atol=1e-5)
    cosine = found @ found.T
    assert cosine[2, 4] > cosine[1, 4] and cosine[0, 1] > cosine[0, 4]
    np.testing.assert_allclose(text_vectors(TITLES[1:2]), found[1:2], atol=1e-6)  # whatever stands beside it


def test_the_items_get_a_column_of_vectors(no_network, files):
    log, report = ingest(TextVectors(files))
    assert report.rejected == {} and log.items["text_vector"].to_pylist()[3] is None
    np.testing.assert_allclose(log.items["text_vector"].to_pylist()[0], text_vectors(TITLES[:1])[0], atol=1e-6)
    both = TextVectors(files, columns=("title", "tagline"), into="words").items()
    np.testing.assert_allclose(both["words"].to_pylist()[2], text_vectors(["A love story in Paris y"])[0], atol=1e-6)


def test_what_comes_later_gets_vectors_of_the_same_model(no_network, files, tmp_path):
    """New items, items that come again with another text, and those that come again without one."""
    later = pa.table({"item_id": ["c", "f", "g"], "title": ["Romantic wedding", "Star Wars", None]})
    pa.parquet.write_table(later, tmp_path / "later.parquet")
    pa.parquet.write_table(pa.table({"item_id": ["a"], "tagline": ["new"]}), tmp_path / "taglines.parquet")
    days = [Files(str(tmp_path / f"{i}.csv"), items_path=str(tmp_path / name))
            for i, name in enumerate(["later.parquet", "taglines.parquet"])]
    grown = joined(joined(TextVectors(files), days[0]), days[1])
    assert parts_of(grown) == (files, *days) and grown == TextVectors(Joined((files, *days)))
    assert from_dict(to_dict(grown)) == grown
    with pytest.raises(ConfigError, match="new events in a place of their own"):
        joined(grown, days[1])
    titles = [*TITLES[:2], "Romantic wedding", *TITLES[3:], "Star Wars", ""]
    expected = [None if not title else vector for title, vector in zip(titles, text_vectors(titles).tolist())]
    items = grown.items()
    assert items["item_id"].to_pylist() == list("abcdefg")
    for found, vector in zip(items["text_vector"].to_pylist(), expected):
        assert found == (None if vector is None else pytest.approx(vector, abs=1e-6))


def test_an_update_names_the_columns_as_the_log_inside_does():
    columns = Columns("customer", "sku", "at")
    known = TextVectors(Files("log.csv", columns=columns, items_path="items.csv"))
    args = build_parser().parse_args(["update", "RUN", "--interactions", "day.csv"])
    source, _ = source_of(args, dataclasses.replace(recipes.load("multimodal"), source=known))
    assert source == Files(os.path.abspath("day.csv"), columns=columns)


def test_without_names_all_texts_are_read_and_none_where_there_are_vectors(no_network, files, tmp_path):
    everything = TextVectors(files, columns=()).items()["text_vector"].to_pylist()
    np.testing.assert_allclose(everything[2], text_vectors(["A love story in Paris y"])[0], atol=1e-6)

    def read(**columns):
        pa.parquet.write_table(pa.table({"item_id": ["a", "b"], **columns}), tmp_path / "others.parquet")
        return TextVectors(Files(files.path, items_path=str(tmp_path / "others.parquet")), columns=()).items()

    assert read(image=[[1.0, 2.0], [3.0, 4.0]]).column_names == ["item_id", "image"]
    with pytest.raises(DataError, match="no column of them holds any"):
        read(price=[1.0, 2.0])


def test_a_column_that_is_not_there(no_network, files):
    with pytest.raises(DataError, match="the items have no column `titel`. Did you mean `title`?"):
        TextVectors(files, columns=("titel",)).items()
    with pytest.raises(DataError, match="there is no item table"):
        TextVectors(Files(files.path)).items()


def test_without_the_extra_one_line_says_how_to_get_it(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "wordllama", None)
    with pytest.raises(MissingExtraError) as error:
        TextVectors(files).items()
    assert "pip install 'tfrs_twotower[text]'" in str(error.value)
