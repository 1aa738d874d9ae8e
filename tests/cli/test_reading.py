"""The flags that say how files are laid out reach the source of the recipe."""

import pytest

from tfrs_twotower.cli import cold_start
from tfrs_twotower.cli.main import build_parser
from tfrs_twotower.cli.reading import read_as
from tfrs_twotower.cli.training import recipe_of
from tfrs_twotower.data import Files
from tfrs_twotower.errors import ConfigError

FLAGS = ["--format", "csv", "--delimiter", r"\t", "--encoding", "latin-1", "--header", "user_id,item_id,timestamp",
         "--skip", "a b", "--skip", "c", "--separator", "genres=|", "--separator", "title="]


def test_flags_of_reading_are_fields_of_the_source():
    args = build_parser().parse_args(["train", "plain", "--interactions", "u.data", *FLAGS])
    source = recipe_of(args).source
    assert (source.format, source.delimiter, source.encoding) == ("csv", "\t", "latin-1")
    assert source.header == ("user_id", "item_id", "timestamp") and source.skip == ("a b", "c")
    assert source.separators == (("genres", "|"), ("title", ""))
    plain = recipe_of(build_parser().parse_args(["train", "plain", "--interactions", "u.data"])).source
    assert (plain.format, plain.delimiter, plain.header, plain.skip, plain.separators) == (None, None, None, (), ())
    with pytest.raises(ConfigError, match="`--separator` must look like COLUMN=TEXT. Received: genres"):
        read_as(Files(""), build_parser().parse_args(["train", "plain", "--separator", "genres"]))


def test_cold_reads_by_the_same_flags(tmp_path, capsys):
    (tmp_path / "items.csv").write_bytes("sku;title;genres\n1;Café;a|b\n2;x\n3;y;a\n".encode("latin-1"))
    path, flags = str(tmp_path / "items.csv"), ["--item-id", "sku", "--encoding", "latin-1", "--delimiter", ";"]
    items = cold_start._table(read_as(Files(""), build_parser().parse_args(["cold-start", path, *flags])))
    assert items.to_pydict() == {"item_id": ["1", "3"], "title": ["Café", "y"], "genres": [["a", "b"], ["a"]]}
    said = capsys.readouterr().out
    assert "row 1 cannot be parsed and is left out: 2;x" in said and "cells of `genres` hold several values" in said
