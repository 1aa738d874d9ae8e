"""The options of every verb that reads files, and the `Files` that they give."""

import argparse
import dataclasses
import os
import time
from typing import TYPE_CHECKING, Any

from tfrs_twotower import columns as c
from tfrs_twotower.errors import ConfigError

if TYPE_CHECKING:
    from tfrs_twotower.data import Files, Source
    from tfrs_twotower.online import Store

_PATHS = {"interactions": "path", "users": "users_path", "items": "items_path"}
_COLUMNS = (c.USER_ID, c.ITEM_ID, c.TIMESTAMP, c.LABEL, c.WEIGHT, "time_unit", "weight_scale")
_CONDITIONS = ("where", "positive")
_LAYOUT = ("format", "delimiter", "encoding", "header", "skip", "separator")
_NONE = "none"  # of a column: the log has none
_TAB = (r"\t", "tab")


def add_reading(group: argparse._ArgumentGroup) -> None:
    """Adds the options for a log's files, its columns, which events count, and the layout of its files."""
    group.add_argument("--interactions", metavar="PATH",
                       help="the events: a file, a folder or a pattern, here or at an address such as s3://bucket/log; "
                       "or the folder of a prepared dataset, or a store: sqlite:PATH, redis://HOST:PORT/DB")
    group.add_argument("--log-requests", metavar="FOLDER", action="append",
                       help="with a store: the answers that `serve --log-requests` kept, for what was shown and not "
                       "chosen; may be repeated")
    group.add_argument("--users", metavar="PATH", help="the user table, if there is one")
    group.add_argument("--items", metavar="PATH", help="the item table, if there is one")
    group.add_argument("--user-id", metavar="COLUMN", help="the user id's column")
    group.add_argument("--item-id", metavar="COLUMN", help="the item id's column")
    group.add_argument("--timestamp", metavar="COLUMN", help="the time's column; none: the log has no times")
    group.add_argument("--time-unit", metavar="UNIT", help="the unit of times that are numbers: s, ms, us, ns, h, d, "
                       "calendar (20231114) or excel (default: detected by their size)")
    group.add_argument("--label", metavar="COLUMN",
                       help="labels: an event with 0 or less was shown and not chosen, and is no interaction")
    group.add_argument("--positive", action="append", metavar="CONDITION",
                       help="a condition for interactions, such as \"rating >= 4\"; other events count as shown and "
                       "not chosen; may be repeated")
    group.add_argument("--where", action="append", metavar="CONDITION",
                       help="keep only events that fulfil this condition, such as \"quantity > 0\"; may be repeated")
    group.add_argument("--weight", metavar="COLUMN",
                       help="weights of events: play counts, quantities or ratings; used as log(1 + weight)")
    group.add_argument("--weight-scale", choices=("log", "linear"), help="linear: use the weight itself (default: log)")
    group.add_argument("--format", choices=("csv", "json", "sequences"),
                       help="the format of the events; sequences: lines `user item item ...` (default: detected)")
    group.add_argument("--header", metavar="A,B,C", help="names for events without a header (default: detected)")
    add_layout(group)


def add_layout(group: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Adds the options that set the layout of any file in place of the detected one: see docs/files.md."""
    group.add_argument("--delimiter", metavar="TEXT",
                       help="the separator of fields: one character or :: (default: detected)")
    group.add_argument("--encoding", metavar="NAME", help="such as latin-1 or cp1252 (default: detected)")
    group.add_argument("--skip", metavar="COLUMN", action="append", help="do not read this column; may be repeated")
    group.add_argument("--separator", metavar="COLUMN=TEXT", action="append",
                       help="the separator of several values in a cell of a table; empty: a cell is one value; may "
                       "be repeated (default: detected)")


def given(args: argparse.Namespace) -> list[str]:
    """The names of `add_reading`'s options that were given, as in Python."""
    names = (*_PATHS, *_COLUMNS, *_CONDITIONS, *_LAYOUT, "log_requests")
    return [name for name in names if getattr(args, name) is not None]


def newest_files(source: "Source | None") -> "Files":
    """The newest `Files` of a recipe's source without the tables of users and items, as a pattern for new events."""
    from tfrs_twotower.data import Files, parts_of

    parts = [of for part in parts_of(source) if part is not None for of in part.sources()]
    own = next((part for part in reversed(parts) if isinstance(part, Files)), Files(""))
    return dataclasses.replace(own, users_path=None, items_path=None)


def read_from(source: "Files", args: argparse.Namespace) -> "Source":
    """The prepared dataset or the store that the events are, or what `read_as` gives.

    Raises:
      ConfigError: as `read_as`, or a prepared dataset or a store is given with options that it lacks.
    """
    from tfrs_twotower.data import Prepared, is_prepared
    from tfrs_twotower.online import collected_columns, is_collected

    if is_store(args.interactions):
        return _store(args)
    if args.log_requests:
        rule = "only be given with a store as `--interactions`. For example: --interactions sqlite:store.db"
        raise ConfigError(f"`--log-requests` can {rule}. Received: {args.interactions}.")
    if args.interactions is not None and is_collected(args.interactions):
        source = dataclasses.replace(source, columns=collected_columns(args.interactions))
    if args.interactions is None or not is_prepared(args.interactions):
        return read_as(source, args)
    if other := [name for name in given(args) if name != "interactions"]:
        raise ConfigError(
            f"`--interactions {args.interactions}` is a prepared dataset, whose events are read as they are. "
            f"Received also: {', '.join(other)}. Give these to `twotower prepare` and a new folder."
        )
    return Prepared(os.path.abspath(args.interactions))


def is_store(address: str | None) -> bool:
    """Is it the address of a store?"""
    from tfrs_twotower.online import kind_at

    return address is not None and not os.path.exists(address) and kind_at(address) is not None


def _store(args: argparse.Namespace) -> "Store":
    """The `Store` of the arguments, up to now."""
    from tfrs_twotower.online import Store

    tables = {"users": "users_path", "items": "items_path"}
    if other := [name for name in given(args) if name not in ("interactions", "log_requests", *tables)]:
        raise ConfigError(f"`--interactions {args.interactions}` is a store, whose events have columns of known names. "
                          f"Received also: {', '.join(other)}. Leave these out, or use `twotower collect`.")
    paths = {field: _whole(getattr(args, name)) for name, field in tables.items() if getattr(args, name) is not None}
    address = args.interactions
    scheme, _, path = address.partition(":")
    if scheme in ("sqlite", "archive"):  # the same in every folder
        folders = path.split(",") if scheme == "archive" else [path]
        address = f"{scheme}:" + ",".join(map(os.path.abspath, folders))
    logs = tuple(os.path.abspath(folder) for folder in args.log_requests or ())
    return Store(address, logs, until=int(time.time()), **paths)


def read_as(source: "Files", args: argparse.Namespace) -> "Files":
    """A `Files` with the given options in place of its own.

    Conditions, skipped columns and separators are added to its own.

    Raises:
      ConfigError: a condition or a separator cannot be read, or a value is not one of its kind.
    """
    from tfrs_twotower.configuration import check_types
    from tfrs_twotower.data.conditions import read_condition

    said = {name: value for name, value in vars(args).items() if value is not None}
    columns: dict[str, Any] = {name: None if (name, said[name]) == (c.TIMESTAMP, _NONE) else said[name]
                               for name in _COLUMNS if name in said}
    more: dict[str, Any]
    more = {name: [read_condition(text, f"--{name}") for text in said.get(name, ())] for name in _CONDITIONS}
    more |= {"skip": said.get("skip", []), "separators": [_separator(text) for text in said.get("separator", ())]}
    layout: dict[str, Any] = {name: said[name] for name in ("format", "delimiter", "encoding") if name in said}
    if layout.get("delimiter") in _TAB:
        layout["delimiter"] = "\t"
    paths: dict[str, Any] = {field: _whole(said[name]) for name, field in _PATHS.items() if name in said}
    if "header" in said:
        layout["header"] = tuple(said["header"].split(","))
    source = dataclasses.replace(
        source,
        **paths,
        # mypy does not see that these fields hold tuples.
        **{name: (*getattr(source, name), *values) for name, values in more.items()},  # type: ignore[arg-type]
        **layout,
        columns=dataclasses.replace(source.columns, **columns),
    )
    check_types(source.columns)
    return source


def _whole(path: str) -> str:
    """A path that is the same in every folder; an address is."""
    return path if "://" in path else os.path.abspath(path)


def _separator(text: str) -> tuple[str, str]:
    column, parted, separator = text.partition("=")
    if not parted:
        raise ConfigError(f"`--separator` must look like COLUMN=TEXT. Received: {text}. For example: genres='|'")
    return column, separator
