"""Days of the grocery log replayed: what do statistics that move (`ItemStatistic`) add to a model that stays the same?

    python -m bench.bench_replay_statistics                    14 days from 2017-12-10, each in two parts, one seed
    python -m bench.bench_replay_statistics --seeds 0 1 2

The replay is that of `bench_replay`: its recipe, its training on the twelve weeks before the first day, and its
queries, which are asked before anybody learns their answers. No model is trained again meanwhile. The arms:

  without                the model of the recipe, the arm "neither" of `bench_replay`
  without, same batches  the batches and negatives that statistics need, and no statistics
  as of the first day    with statistics: counts of the last day, week, month and of all time, the distinct households
                         of the week, the days since the last sale. They stay as the export has them
  by the hour            the same version, whose statistics a server counts on: before a query all events up to its
                         hour have been counted (`FreshItems`)

Figures are over all seeds; an interval draws households, each with all that it was asked under every seed.
"""

import argparse
import dataclasses
import datetime

import numpy as np

import tfrs_twotower  # noqa: F401
from bench import common, replays
from bench.bench_statistics import MOVING
from tfrs_twotower import columns as c
from tfrs_twotower.data import ingest
from tfrs_twotower.data.queries import QueryBuilder
from tfrs_twotower.data.statistics import HOUR
from tfrs_twotower.exporting import read
from tfrs_twotower.freshness import FreshItems
from tfrs_twotower.online import Event
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.assembling import completed
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.serving.fresh_answers import FreshAnswers
from tfrs_twotower.serving.loading import load
from tfrs_twotower.serving.model import call

FIRST, HOURLY = "as of the first day", "by the hour"
ARMS = ("without", "without, same batches", FIRST, HOURLY)
_MODELS = {"without": "without", "without, same batches": "without, same batches", FIRST: "with"}
_OVER = {"without": (), "without, same batches": ("without",), FIRST: ARMS[:2], HOURLY: ARMS[:3]}


def trained(recipe, source, directory, moving):
    """The loaded export of a model with the candidate features `moving`."""
    log, _ = ingest(source)
    schema = completed(recipe, log).schema
    schema = dataclasses.replace(schema, candidate=(*schema.candidate, *moving))
    if not (directory / runs.EXPORT).exists():
        chosen = dataclasses.replace(recipe, source=source, schema=schema)
        Recommender(chosen, directory=directory).fit(verbose=2).export()
    path = next((directory / runs.EXPORT).glob("[0-9]*"))
    return load(str(path), 1, read(path))


class Hourly:
    """A version whose statistics are counted on, as a server does.

    Args:
      model: a `LoadedModel`.
      log: all events, also those that nobody knows yet.
      since: seconds since 1970: the export knows the earlier ones.
      folder: for item events; new.
    """

    def __init__(self, model, log, since, folder):
        self.fresh = FreshItems(folder, int)
        self.fresh.attach(model)
        self._answers, self._model, self._log = FreshAnswers(self.fresh, call), model, log
        self._users, self._items = (table[name].to_numpy() for table, name in (
            (log.users, c.USER_ID), (log.items, c.ITEM_ID)
        ))
        self._next = int(np.searchsorted(log.timestamp, since))
        self.changed = []

    def count(self, hour):
        """Counts all events before an hour, and refreshes the items whose statistics changed."""
        log = self._log
        stop = int(np.searchsorted(log.timestamp, hour * HOUR))
        self.fresh.count(
            Event(str(row), str(self._users[log.user[row]]), str(self._items[log.item[row]]), int(log.timestamp[row]))
            for row in range(self._next, stop)
        )
        self._next = max(self._next, stop)
        self.changed.append(self.fresh.refresh(hour * HOUR))

    def answer(self, features):
        """int64 [queries, 100]: the ids recommended for raw query features."""
        signature = self._model.signature()
        return self._answers.call(self._model, signature, {**features, c.K: np.int32(replays.K)})["ids"].numpy()


def asked(log, examples, models, hourly, start, stop, day):
    """A row (day, user, {arm: metrics}) for each query of the log rows from `start` to `stop`."""
    builder = QueryBuilder(log)
    _, first, last = builder.spans(np.arange(start, stop))
    queries, ids, rows = builder.build(first, last), log.items[c.ITEM_ID].to_numpy(), []
    hours = queries.timestamp // HOUR
    for hour in np.unique(hours):
        hourly.count(hour)
        some = queries.take(np.flatnonzero(hours == hour))
        features = examples.raw_queries(some.row)
        found = {name: model.signature()({**features, c.K: np.int32(replays.K)})["ids"].numpy()
                 for name, model in models.items()}
        found[HOURLY] = hourly.answer(features)
        for i in range(len(some)):
            wanted = ids[some.targets.values[some.targets.offsets[i]:some.targets.offsets[i + 1]]]
            figures = {name: replays.metrics(answer[i], wanted) for name, answer in found.items()}
            rows.append((day, int(some.user[i]), figures))
    return rows


def played(settings, args, folder):
    """Replays the days; yields (the rows so far, the `Hourly`) after each."""
    cut = replays.Days(settings.source, folder)
    begin = int(datetime.datetime.fromisoformat(args.start + "+00:00").timestamp())
    oldest = begin - args.weeks * 7 * replays.DAY
    log, _ = ingest(cut.between(oldest, begin + args.days * replays.DAY))
    models, source = {}, cut.between(oldest, begin)
    for number, (name, which) in enumerate(_MODELS.items()):
        models[name] = trained(settings, source, folder / "runs" / str(number), MOVING[which])
    hourly = Hourly(models[FIRST], log, begin, folder / "items")
    examples = replays.examples_of(folder / "runs" / "0", log)
    rows = []
    for day in range(args.days):
        hours = [0, *args.cuts, 24]
        for a, b in zip(hours, hours[1:]):
            start, stop = (int(np.searchsorted(log.timestamp, begin + day * replays.DAY + hour * HOUR))
                           for hour in (a, b))
            if start < stop:
                rows += asked(log, examples, models, hourly, start, stop, day + 1)
        yield rows, hourly
    hourly.fresh.close()


def summary(rows, hourly):
    """A row an arm, over all seeds."""
    for name in ARMS:
        row = {"arm": name, "queries": len(rows)}
        between = {other: replays.against(rows, name, other) for other in _OVER[name]}
        for i, metric in enumerate(replays.METRICS):
            row[metric] = round(float(replays.means(rows, name)[i]), 4)
            for other in _OVER[HOURLY]:
                known = other in _OVER[name]
                row[f"{metric} over {other}"] = "[{:+.4f}, {:+.4f}]".format(*between[other][i]) if known else None
        changed = sum((one.changed for one in hourly), []) if name == HOURLY else []
        row["items that an hour changes"] = common.median(changed) if changed else None
        yield row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    replays.add_days(parser)
    args = parser.parse_args()
    rows, hourly = [], []
    for seed, folder in replays.folders(args):
        for found, one in played(replays.recipe(seed), args, folder):
            print(f"day {found[-1][0]}, {len(found)} queries", flush=True)
        rows, hourly = rows + found, [*hourly, one]
        common.record("replay_statistics", list(summary(rows, hourly)))


if __name__ == "__main__":
    main()
