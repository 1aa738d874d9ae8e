"""`twotower experiment`: what the users of each arm did."""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from tfrs_twotower.cli import options
from tfrs_twotower.errors import ConfigError, invalid

if TYPE_CHECKING:
    from tfrs_twotower.experiments import ArmComparison

MISMATCH = 0.001
DESCRIPTION = """\
Reads the answers that `twotower serve --arms … --log-requests FOLDER` kept, and the events in the store, and compares
each arm with the control by users.

  twotower experiment log --store sqlite:store.db --metric click --arms arms.json
  twotower experiment log --store sqlite:store.db --metric buy --per answer --cuped 14 --json

An event belongs to the answer that it names. If it names none, it belongs to an answer that showed its user its item
less than --within seconds before. Users without an id do not count, nor do those who had answers of two arms.

The interval of a difference is a confidence sequence: it holds at all moments together. So look as often as you like,
and stop when it leaves 0. For large numbers this is exact if all users count for the same time: --days N counts each
user's first N days. With several arms all intervals hold together, and p is that of all comparisons. --fixed shows
Welch's interval, for a single look at a moment that was chosen beforehand.

With --arms, a test says whether the arms' numbers of users fit their shares. If they do not (p below 0.001), something
is wrong with the assignment or the log, and no difference can be trusted.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "experiment", run, "compare the arms of an experiment", DESCRIPTION)
    parser.add_argument("log", metavar="FOLDER", help="the folder of `serve --log-requests`, or one of such "
                        "folders")
    options.add_store(parser, required=True)
    parser.add_argument("--metric", required=True, metavar="KIND", help="the kind of event to count, such as click")
    parser.add_argument("--per", choices=("user", "answer"), default="user", help="the unit of a rate (default: user)")
    parser.add_argument("--arms", metavar="FILE", help="the file of `serve --arms`: names the control and the shares")
    parser.add_argument("--control", metavar="ARM", help="the arm to compare with (default: the first of --arms)")
    parser.add_argument("--since", type=options.moment, metavar="TIME",
                        help="answers from this time on: seconds since 1970, or 2026-11-30[T12:00[:00]] in UTC")
    parser.add_argument("--until", type=options.moment, metavar="TIME", help="answers and events before this time")
    options.add_within(parser)
    parser.add_argument("--days", type=options.positive, metavar="N", help="count each user's first N days after the "
                        "first answer, and only users whose N days are over (default: all)")
    parser.add_argument("--cuped", type=options.positive, metavar="DAYS",
                        help="make the intervals narrower by what users did in the DAYS before their first answer")
    parser.add_argument("--alpha", type=float, default=0.05, help="1 - the level of the intervals (default: 0.05)")
    parser.add_argument("--planned", type=options.positive, default=10_000, metavar="N",
                        help="the number of users in two arms at which the interval is narrowest (default: 10000)")
    parser.add_argument("--fixed", action="store_true", help="show the interval for a single look")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    return parser


def run(args: argparse.Namespace) -> None:
    """Compares."""
    from tfrs_twotower.experiments import compare_arms, imbalance, read_arms, read_participants

    arms = read_arms(args.arms) if args.arms else None
    control = args.control or (arms and arms.control.name)
    if not control:
        raise ConfigError("`--control` must name an arm, or `--arms` the file of arms. Give one of them.")
    stores = options.open_store(args, existing=True)
    try:
        found = read_participants(args.log, stores, args.metric, args.since, args.until, args.within, args.days,
                                  args.cuped or 0)
    finally:
        stores.close()
    if not len(found.arm):
        way_out = "Serve with --arms and --log-requests, or widen --since and --until."
        raise ConfigError(invalid("FOLDER", "hold answers of arms to users with an id", args.log, way_out))
    rows = compare_arms(found, control, args.per, args.alpha, bool(args.cuped), args.planned)
    shares = {arm.name: arm.share for arm in arms.arms if not arm.shadow} if arms else {}
    p = imbalance({row.arm: row.users for row in rows}, shares) if len(shares) > 1 else None
    if args.json:
        print(json.dumps({"metric": args.metric, "per": args.per, "arms": [dataclasses.asdict(row) for row in rows],
                          "imbalance_p": p, "moved_users": found.moved, "cut_users": found.cut,
                          "inside_users": found.inside}, indent=2))
        return
    print(_table(rows, args.fixed))
    if not found.events.any():
        print(f"\nNo event of the kind `{args.metric}` came from these answers. `event` in /v1/events names the kind.")
    if p is not None:
        fits = "" if p >= MISMATCH else " THEY DO NOT FIT: trust no difference."
        print(f"\nUsers against shares: p = {p:.3g}.{fits}")
    if found.moved:
        print(f"Left out: {found.moved} users with answers of several arms.")
    if found.inside:
        print(f"{found.inside} users had answers of arms before --since. For these users --cuped reads the days before "
              "the first of these answers.")
    if found.cut:
        print(f"Of {found.cut} users the store keeps as many events as it may: earlier ones may be missing "
              "(--keep-events).")


def _table(rows: "list[ArmComparison]", fixed: bool) -> str:
    import pandas as pd

    listed = []
    for row in rows:
        interval, p = (row.fixed_interval, row.fixed_p) if fixed else (row.interval, row.p)
        shown: dict[str, Any] = {"arm": row.arm, "users": row.users, "answers": row.answers, "events": row.events,
                                 "rate": f"{row.rate:.4f}"}
        shown["difference"] = "" if row.difference is None else f"{row.difference:+.4f}"
        shown["interval"] = "" if interval is None else f"{interval[0]:+.4f} … {interval[1]:+.4f}"
        shown["p"] = "" if p is None else f"{p:.3g}"
        listed.append(shown)
    return pd.DataFrame(listed).to_string(index=False)
