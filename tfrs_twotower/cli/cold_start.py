"""`twotower cold-start`: a first version to serve, made of an item table, before there are events."""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrs_twotower import columns as c
from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing
from tfrs_twotower.cli.reading import add_layout, read_as
from tfrs_twotower.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

    from tfrs_twotower.data import Files

DESCRIPTION = """\
Writes a first version of a model from an item table alone. It answers with lists of items in place of trained towers.
It is an ordinary export: `twotower serve` and TF Serving serve it, with filters and fresh items. A server that follows
`latest` later swaps to the first training, and callers need no change.

  twotower cold-start items.csv --name shop --item-id sku --order sold
  twotower cold-start items.csv --name shop --item-id sku --order added --by country=sold_in --list hour=by_hour.csv
  twotower serve runs/shop/latest/export

Each --by and --list is a rule. A rule gives a list of items for the request's value of FIELD. An answer begins with
these lists, in the order of the rules, and goes on with the whole catalogue by --order. An item in several lists stands
in the first one. `hour` (0 to 23) and `weekday` (0 is Monday), in UTC, are read from the request's `timestamp`; any
other FIELD is an input of its own.

Text such as DE|FR in a column of --by is two values. A file of --list has the columns FIELD and the item id; its rows
are the lists, best first.

Requests bring `user_id` (text) and the fields. --input names further inputs that the trained model will read, so that
the same requests fit both versions. `--input user_id=whole` says that user ids are numbers.
"""
_TYPES = ("text", "whole", "number", "texts", "wholes")
_SEPARATOR = "|"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "cold-start", run, "write a first version, before there are events", DESCRIPTION)
    parser.add_argument("items", metavar="ITEMS", help="the item table: Parquet or CSV, a file, a folder or a pattern")
    parser.add_argument("--name", default="cold", help="the name of the model and its later recipe (default: cold)")
    parser.add_argument("--item-id", default="item_id", metavar="COLUMN", help="the id's column (default: item_id)")
    parser.add_argument("--order", metavar="COLUMN",
                        help="the global order: numbers or times, the largest first (default: as in the table)")
    parser.add_argument("--ascending", action="store_true", help="the smallest of --order first")
    parser.add_argument("--by", dest="rules", action="append", type=_rule("by"), default=[], metavar="FIELD=COLUMN",
                        help="items whose COLUMN holds the request's FIELD come first; may be repeated")
    parser.add_argument("--list", dest="rules", action="append", type=_rule("list"), metavar="FIELD=FILE",
                        help="a file with a list of items for each value of FIELD; may be repeated")
    parser.add_argument("--input", dest="inputs", action="append", type=_input, default=[], metavar="NAME=TYPE",
                        help="a further input of requests, not read by lists; TYPE is one of " + ", ".join(_TYPES))
    add_layout(parser)
    parser.add_argument("--runs", default=str(options.RUNS), metavar="FOLDER", help="where runs are (default: runs)")
    options.add_sign_key(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Reads the table, writes the version, points `latest` to it."""
    with importing():
        import tensorflow as tf

        from tfrs_twotower.coldstart import ByColumn, ByList, export_rules, rule_retriever
        from tfrs_twotower.data import Files
        from tfrs_twotower.exporting.publishing import check_signed
        from tfrs_twotower.pipeline import runs

    key = options.sign_key(args)
    check_signed(Path(args.runs) / args.name / "latest" / runs.EXPORT, key)
    source = read_as(Files(""), args)
    items = _table(source)
    rules: list = []
    for kind, field, value in args.rules:
        if kind == "by":
            items = _split(items, field, value)
            rules.append(ByColumn(field, value))
        else:
            rules.append(ByList(field, _lists(dataclasses.replace(source, items_path=value), field)))
    inputs = {name: tf.TensorSpec(*_spec(kind)) for name, kind in {c.USER_ID: "text", **dict(args.inputs)}.items()}
    retriever = rule_retriever(items, rules, args.order, args.ascending, inputs)
    directory = runs.create(args.runs, args.name)
    path = export_rules(retriever, directory / runs.EXPORT, args.name, items, runs.next_version(directory), key)
    runs.point_latest(directory)
    print(f"{items.num_rows:,} items, {retriever.dim - 1:,} lists by context: {path}")


def _table(source: "Files") -> "pa.Table":
    from tfrs_twotower.data.source import bad_lines, notes_of

    table = source.items()
    for note in notes_of(table.schema):
        print(note)
    for file, row, text in bad_lines(table.schema):
        print(f"{file}: row {row} cannot be parsed and is left out: {text[:80]}")
    return table


def _split(items: "pa.Table", field: str, column: str) -> "pa.Table":
    """The table, with a column's texts of several values as lists."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from tfrs_twotower.coldstart import MOMENTS

    if column not in items.column_names:
        return items
    values = items[column]
    if not (pa.types.is_string(values.type) or pa.types.is_list(values.type)):
        return items
    if pa.types.is_string(values.type) and pc.any(pc.match_substring(values, _SEPARATOR)).as_py():
        values = pc.split_pattern(values, _SEPARATOR)
    if pa.types.is_list(values.type) and field in MOMENTS:
        try:
            values = values.cast(pa.list_(pa.int64()))
        except pa.ArrowInvalid as error:
            raise DataError(f"Column `{column}` must hold whole numbers for `{field}`: {error}.") from error
    return items.set_column(items.column_names.index(column), column, values)


def _lists(source: "Files", field: str) -> dict[Any, list[Any]]:
    """{value: item ids in the order of the rows}."""
    from tfrs_twotower.data.source import check_columns

    table = _table(source)
    check_columns({"the context": field}, table.column_names, source.items_path)  # type: ignore[arg-type]  # is set
    lists: dict = {}
    for value, item in zip(table[field].to_pylist(), table[c.ITEM_ID].to_pylist()):
        if value is not None:
            lists.setdefault(value, []).append(item)
    return lists


def _spec(kind: str) -> tuple[list[None], str]:
    """(shape, dtype's name) of a type."""
    shape = [None, None] if kind.endswith("s") else [None]
    return shape, {"text": "string", "whole": "int64", "number": "float32"}[kind.removesuffix("s")]


def _rule(kind: str) -> Callable[[str], tuple[str, str, str]]:
    def read(text: str) -> tuple[str, str, str]:
        field, separator, value = text.partition("=")
        if not (field and separator and value):
            raise argparse.ArgumentTypeError(f"must look like FIELD=…, not {text!r}")
        return kind, field, value

    return read


def _input(text: str) -> tuple[str, str]:
    name, _, kind = text.partition("=")
    if not name or kind not in _TYPES:
        raise argparse.ArgumentTypeError(f"must be NAME=TYPE with one of {', '.join(_TYPES)}, not {text!r}")
    return name, kind
