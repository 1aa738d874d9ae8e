"""`twotower load`: puts a run's log into a store."""

import argparse

from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing
from tfrs_twotower.errors import ConfigError

DESCRIPTION = """\
Puts the users of a run's log into a store: their newest events, and the columns of the user table. A server that has
the store open sees them at once. It says how many events the store does not keep, by --keep-events and --keep-days.
Events more than a day in the future are left out.

  twotower load runs/retail/latest --store sqlite:store.db
  twotower load runs/retail/latest --store redis://localhost:6379/0

Loading a log twice adds nothing. With --once nothing is loaded if the store has the log's last event. An event of the
log that a server recorded too counts twice, unless the log has its id in a context column `event_id`.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "load", run, "put a run's log into a store for `serve`", DESCRIPTION)
    options.add_run(parser)
    options.add_store(parser, required=True)
    parser.add_argument("--once", action="store_true", help="do nothing if the store has the log's last event already")
    return parser


def run(args: argparse.Namespace) -> None:
    """Loads, and says how much."""
    directory = options.run_directory(args.run_directory)
    with importing():
        from tfrs_twotower.online import count_kept, is_loaded, load_log, put_table, without_password
        from tfrs_twotower.pipeline import runs
        from tfrs_twotower.pipeline.reading import read

    log, _ = read(runs.read_config(directory).recipe, directory)
    if not log.timed and args.keep_days:
        raise ConfigError(f"`--keep-days` needs times, and the log has none. Received: {args.keep_days}. Leave it out.")
    stores = options.open_store(args)
    try:
        if args.once and is_loaded(stores.history, log):
            print(f"The log of {args.run_directory} is in {without_password(args.store)} already.")
            return
        users, new = put_table(stores.profiles, log.users), load_log(stores.history, log)
        kept = count_kept(stores.history, log)
    finally:
        stores.close()
    events = f"{new:,} new events of {len(log):,}" if kept == len(log) else f"{kept:,} events of {len(log):,}"
    print(f"{users:,} users' columns and {events} are in {without_password(args.store)}.")
    if kept < len(log):
        age = f", of the last {args.keep_days:,} days (--keep-days)" if args.keep_days else ""
        named = ", ".join(args.keep_kinds)
        kinds = f", as many older ones of each of {named} (--keep-kinds)" if named else ""
        print(f"Left out: {len(log) - kept:,}. The store keeps each user's newest events, at most {args.keep_events:,} "
              f"(--keep-events){kinds}{age}, and none that lies more than a day ahead.")
