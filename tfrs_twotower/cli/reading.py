"""How a log is read: the same options in every verb that reads one."""

import dataclasses
import os

from tfrs_twotower import columns as c

_NONE = "none"  # of a column: the log has none


def add_reading(group):
    """Adds what says where a log is, which column is which, and which events count."""
    group.add_argument("--interactions", metavar="PATH", help="the events: a file, a folder or a pattern")
    group.add_argument("--users", metavar="PATH", help="the user table, if there is one")
    group.add_argument("--items", metavar="PATH", help="the item table, if there is one")
    group.add_argument("--user-id", metavar="COLUMN", help="the user id's column")
    group.add_argument("--item-id", metavar="COLUMN", help="the item id's column")
    group.add_argument("--timestamp", metavar="COLUMN", help="the time's column; none: the log has no times")
    group.add_argument("--time-unit", metavar="UNIT", help="what times that are numbers count: s, ms, us, ns, h, d, "
                       "calendar (20231114) or excel (default: found by their size)")
    group.add_argument("--label", metavar="COLUMN", help="events with 0 or less here were shown and not liked")
    group.add_argument("--positive", action="append", metavar="CONDITION",
                       help="events for which this is not true were shown and not liked, such as \"rating >= 4\"; may "
                       "be repeated")
    group.add_argument("--where", action="append", metavar="CONDITION",
                       help="events for which this is not true are left out, such as \"quantity > 0\"; may be repeated")
    group.add_argument("--weight", metavar="COLUMN",
                       help="what an event weighs: play counts, quantities, ratings; by log(1 + weight)")
    group.add_argument("--weight-scale", choices=("log", "linear"), help="linear: the weight as it is")


def given(args):
    """The names of `add_reading`'s options that were given, as in Python."""
    names = ("interactions", "users", "items", "user_id", "item_id", "timestamp", "time_unit", "label", "positive",
             "where", "weight", "weight_scale")
    return [name for name in names if getattr(args, name) is not None]


def read_as(source, args):
    """A `Files` with the options that were given in place of its own; conditions come to its own.

    Raises:
      ConfigError: a condition cannot be read, or a value is not one of its kind.
    """
    from tfrs_twotower.config import check_types
    from tfrs_twotower.data.conditions import read_condition

    paths = {"path": args.interactions, "users_path": args.users, "items_path": args.items}
    names = {name: getattr(args, name) for name in (c.USER_ID, c.ITEM_ID, c.TIMESTAMP, c.LABEL, c.WEIGHT,
                                                    "weight_scale", "time_unit")}
    conditions = {name: tuple(read_condition(text, f"--{name}") for text in getattr(args, name) or ())
                  for name in ("where", "positive")}
    names = {name: value for name, value in names.items() if value is not None}
    if names.get(c.TIMESTAMP) == _NONE:
        names[c.TIMESTAMP] = None
    source = dataclasses.replace(
        source,
        **{name: os.path.abspath(path) for name, path in paths.items() if path is not None},
        **{name: (*getattr(source, name), *more) for name, more in conditions.items()},
        columns=dataclasses.replace(source.columns, **names),
    )
    check_types(source.columns)
    return source
