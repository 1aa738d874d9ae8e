"""`twotower collect`: what a server recorded, as files to train on."""

import argparse
import datetime

from tfrs_twotower.cli import options
from tfrs_twotower.errors import ConfigError

DESCRIPTION = """\
Adds the events of a store to a folder of Parquet files, each with the answer that it came from, and the items that an
answer showed and the user did not choose, with the label 0. `train` and `update` read the folder without options:

  twotower collect sqlite:store.db --log answers --out log
  twotower train plain --interactions log --items items.csv
  twotower collect sqlite:store.db --log answers --out log       every night: what is new
  twotower update runs/plain/latest

A row is added once, however often a time is read, and however often the process is killed. Each call reads again the
day before the last one, as events may come late.

An event belongs to the answer that it names; if it names none, to the last one that showed the user its item less
than --within seconds before. What clients named as seen at /v1/impressions was shown; if they named nothing, the
places before the last chosen one. What a later stage left out (`dropped` there) has the event "drop". Rows of an
answer are added when --within is over. A search without an item is an event, whose words `Searches` reads; TFRecord
has none of them.

What a client says of an answer may be wrong: no log has the answer, it is another user's, it has no such place. That
does not count, and goes to the folder _aside in --out, with the reason. An event stays, without its answer.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "collect", run, "add a store's events and a server's answers to files",
                          DESCRIPTION)
    parser.add_argument("store", metavar="STORE", help="sqlite:PATH, redis://HOST:PORT/DB, "
                        "archive:FOLDER of `serve --archive`, or module.Class:REST")
    parser.add_argument("--log", action="append", default=[], metavar="FOLDER",
                        help="a folder of `serve --log-requests`, or one of such folders; may be repeated (default: "
                        "events alone)")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="the folder of the files")
    parser.add_argument("--since", type=options.moment, metavar="TIME",
                        help="seconds since 1970, or 2026-11-30[T12:00[:00]] in UTC (default: a day before the end of "
                        "the last call)")
    parser.add_argument("--until", type=options.moment, metavar="TIME", help="up to this time (default: now)")
    options.add_within(parser)
    parser.add_argument("--context", nargs="+", default=(), metavar="NAME",
                        help="features as served, single numbers or texts, that become columns; `train` and `update` "
                        "read them as columns of the events")
    parser.add_argument("--text-ids", action="store_true", help="ids are text, even if all are whole numbers")
    parser.add_argument("--tfrecord", metavar="FOLDER", help="also write all rows of --out there as TFRecord")
    return parser


def run(args: argparse.Namespace) -> None:
    """Collects, and says how much."""
    from tfrs_twotower.online import collect, open_stores

    stores = open_stores(args.store, allow_loss=True, existing=True)  # it only reads
    try:
        found = collect(stores.history, args.log, args.out, args.since, args.until, args.within, args.context,
                        args.text_ids)
    finally:
        stores.close()
    print(f"{found.chosen:,} events and {found.others:,} rows with the label 0 of {_text(found.since)} to "
          f"{_text(found.until)} UTC are new in {args.out}.")
    if found.aside:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in sorted(found.aside.items()))
        print(f"What clients said of answers, and does not count, is in {args.out}/_aside: {reasons}.")
    if args.tfrecord:
        print(f"TFRecord: {_tfrecord(args.out, args.tfrecord)} rows in {args.tfrecord}.")


def _tfrecord(folder: str, to: str) -> int:
    from tfrs_twotower.data import Files, ingest, write_tfrecords
    from tfrs_twotower.online import collected_columns

    log, _ = ingest(Files(folder, columns=collected_columns(folder)))
    write_tfrecords(log, to)
    return len(log) + len(log.shown)


def _text(seconds: int) -> str:
    if not 0 <= seconds < 2**36:
        raise ConfigError(f"A time must lie after 1970. Received: {seconds}. Seconds, not milliseconds, are meant.")
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
