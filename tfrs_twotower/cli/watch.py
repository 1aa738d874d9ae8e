"""`twotower watch`: what is served, against what was trained on, and version against version."""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tfrs_twotower import columns as c
from tfrs_twotower.cli import options
from tfrs_twotower.cli.importing import importing
from tfrs_twotower.errors import ConfigError, invalid

if TYPE_CHECKING:
    from tfrs_twotower.watching import WatchLimits, WatchReport

PAST_A_LIMIT = 3
_LIMITS = {
    "--min-users": "answers to fewer users are past no limit (default: 100)",
    "--max-drift": "largest population stability index of a feature, less what chance makes of so few users (default: "
                   "0.25)",
    "--max-unknown-users": "largest share of answers to users whom training did not know (default: none)",
    "--min-coverage": "smallest share of the catalogue that was in answers (default: none)",
    "--min-recall": "smallest recall of the index on logged queries (default: none)",
    "--min-overlap": "smallest overlap of the top 10 of the newest two versions (default: none)",
    "--min-item-cosine": "smallest mean cosine of their item vectors, after alignment (default: none)",
}
DESCRIPTION = """\
Reads the answers that `twotower serve --log-requests FOLDER` kept, and prints:

- for each feature, and the length of the histories, how far the served values are from those of the training events
  (population stability index, Jensen-Shannon distance, Kolmogorov-Smirnov statistic)
- the shares of unknown users and items, the coverage of the catalogue, and the share of popular items
- for the newest version, the recall of its index on logged queries, and how much its top 10 and its item vectors differ
  from those of the version before

  twotower watch runs/retail/latest --log log
  twotower watch runs/retail/latest --log log --min-recall 0.95 --prometheus /var/lib/node_exporter/twotower.prom
  twotower watch runs/retail/latest/export --log log

For an export root, figures that need the training events are left out. If a figure is past its limit, the exit status
is 3. The column `noise` is the index that two samples of one distribution stay below in 95 of 100 cases, with as many
users; only what the index has above it counts.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the verb."""
    parser = options.verb(subparsers, "watch", run, "compare what is served with what was trained on", DESCRIPTION)
    parser.add_argument("path", metavar="RUN_OR_EXPORT", help="a run's folder, or the folder of an export's versions")
    parser.add_argument("--log", metavar="FOLDER", required=True, help="the folder of `serve --log-requests`")
    parser.add_argument("--hours", type=options.positive, default=24, help="answers of the last HOURS (default: 24)")
    parser.add_argument("--queries", type=options.positive, default=500,
                        help="logged queries that are asked again (default: 500)")
    parser.add_argument("--prometheus", metavar="FILE", help="write the figures here too, for the textfile collector "
                        "of Prometheus' node exporter")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    limits = parser.add_argument_group("limits")
    for flag, what in _LIMITS.items():
        limits.add_argument(flag, type=float, metavar="X", help=what)
    return parser


def run(args: argparse.Namespace) -> int:
    """Measures and prints."""
    with importing():
        from tfrs_twotower.durable import written_aside
        from tfrs_twotower.features import Window
        from tfrs_twotower.online import read_answers
        from tfrs_twotower.watching import (
            WatchLimits,
            WatchReport,
            count_users,
            of_queries,
            watch_features,
            watch_index,
            watch_items,
            watch_versions,
        )

    names = [flag[2:].replace("-", "_") for flag in _LIMITS]
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    limits = WatchLimits(**given)
    answers = read_answers(args.log, int(time.time()) - args.hours * 3600, shadows=False)
    if not len(answers):
        way_out = "Serve with --log-requests, or raise --hours."
        raise ConfigError(invalid("--log", f"hold answers of the last {args.hours} hours", args.log, way_out))
    models = _models(args.path)
    asked = of_queries(answers, models[-1].query_inputs)
    features, shares = {}, {}
    if (Path(args.path) / "config.json").is_file():
        from tfrs_twotower.pipeline import runs
        from tfrs_twotower.pipeline.reading import read

        log, _ = read(runs.read_config(args.path).recipe, Path(args.path).resolve())
        window = models[-1].histories.get(c.PAST, Window((), 1))
        features, unknown = watch_features(log, asked, window) if len(asked) else ({}, {})
        shares = {**unknown, **watch_items(log, answers)}
    shares |= watch_index(models[-1], asked, args.queries)
    if len(models) > 1:
        shares |= watch_versions(models[0], models[1], asked, args.queries)
    report = WatchReport(features, shares, count_users(answers[c.USER_ID]))
    if args.prometheus:
        try:
            with written_aside(args.prometheus) as file:
                file.write(report.prometheus(limits))
        except OSError as error:
            rule = f"name a file that can be written ({error.strerror})"
            raise ConfigError(invalid("--prometheus", rule, args.prometheus, "Name another one.")) from error
    _print(report, limits, len(answers), args.json)
    return PAST_A_LIMIT if report.exceeded(limits) else 0


def _models(path):  # type: ignore[no-untyped-def]
    """The newest two versions, the newest last."""
    from tfrs_twotower.exporting.publishing import versions_under
    from tfrs_twotower.serving import load_export

    root = Path(path) / "export" if (Path(path) / "config.json").is_file() else Path(path)
    found = versions_under(root)
    if not found:
        raise ConfigError(invalid("RUN_OR_EXPORT", "be a run or the folder of an export's versions", path,
                                  "Name for example runs/retail/latest."))
    return [load_export(root / str(version)) for version in found[-2:]]


def _print(report: "WatchReport", limits: "WatchLimits", answers: int, as_json: bool) -> None:
    exceeded = report.exceeded(limits)
    if as_json:
        print(json.dumps({"answers": answers, **dataclasses.asdict(report), "exceeded": exceeded}, indent=2))
        return
    import pandas as pd

    print(f"{answers:,} answers to {report.users:,} users")
    if report.is_small(limits):
        print(f"Limits of what was answered need {limits.min_users:g} users (--min-users), as these may be chance.")
    if report.features:
        frame = pd.DataFrame(report.features).T.reindex(columns=["psi", "noise", "js", "ks", "missing"]).round(3)
        print(frame.rename_axis("feature").reset_index().to_string(index=False))
    for name, value in report.shares.items():
        print(f"{name.ljust(22)} {value:.3f}")
    for check, what in exceeded.items():
        print(f"PAST ITS LIMIT: {check}: {what}")
