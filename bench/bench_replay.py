"""Days of the grocery log replayed: does a model that is updated recommend better than one that is left alone?

    python -m bench.bench_replay            14 days from 2017-12-10, each in two parts, one seed; half an hour
    python -m bench.bench_replay --start 2017-12-01 --days 20 --cuts 12 15 18 --seeds 0 1 2

A model is trained on the twelve weeks before the first day. Then, part by part of each day: what households buy is
asked of every arm first, and learned from afterwards. A query is a household at its first purchase of the part; its
targets are all products that it buys in that part, in the whole catalogue, repeated purchases included. Every arm is
asked as a server asks it: the newest published version, with the newest rows of users, and with a history that is
always up to date, whatever the weights know. The arms:

  neither       the model of the first day
  incremental   `update_users` after each part; once with the learning rate of the recipe, once with ten times that
  full          `update_full` at the end of each day, through its gate
  both          `update_full` at the end of each day, `update_users` after each other part

`full` and `both` share their full updates: those start from the parent's checkpoint, which no user rows change.
Beside them stand two baselines that know everything up to the request: the household's own products by how often it
bought them, filled up by popularity; and popularity alone, of the last four weeks.

Figures are over all seeds; an interval draws households, each with all that it was asked under every seed.
"""

import argparse
import dataclasses
import datetime
import shutil
import time
from pathlib import Path

import numpy as np

import tfrs_twotower  # noqa: F401
from bench import common
from bench.replays import DAY, METRICS, Days, K, add_days, against, examples_of, folders, means, metrics, recipe
from tfrs_twotower import columns as c
from tfrs_twotower.data import ingest
from tfrs_twotower.data.queries import QueryBuilder
from tfrs_twotower.extras import require
from tfrs_twotower.pipeline import runs
from tfrs_twotower.recommender import Recommender
from tfrs_twotower.report import style
from tfrs_twotower.serving.repository import Repository
from tfrs_twotower.updates import update_full, update_users

TEN = "incremental, rate x 10"
ARMS = ("neither", "incremental", TEN, "full", "both")
BASELINES = ("own products", "popularity, 4 weeks")
_MONTH = 28 * DAY


class Arm:
    """One way of keeping a model fresh: the run that it updates, and the folder of versions that it serves.

    Args:
      run: the folder of the first run.
      root: the folder of its own versions; the run's export is copied there.
      learning_rate: of its updates of user rows; None: the recipe's.
    """

    def __init__(self, run, root, learning_rate=None):
        self.run, self.root, self._learning_rate = Path(run), Path(root), learning_rate
        self.root.mkdir(parents=True)
        self.adopt(next((self.run / runs.EXPORT).glob("[0-9]*")), self.run)
        self.seconds = {"full": [], "users": []}
        self.refused = 0

    def adopt(self, published, run):
        """Serves this version, and updates this run from now on."""
        shutil.copytree(published, self.root / f".{published.name}")
        (self.root / f".{published.name}").rename(self.root / published.name)
        self.run = run
        self._repository = Repository(self.root)

    def update_users(self, source):
        """Learns from new events in the rows of their users."""
        start = time.perf_counter()
        update_users(self.run, source, root=self.root, learning_rate=self._learning_rate)
        self.seconds["users"].append(time.perf_counter() - start)

    def answer(self, features):
        """int64 [queries, 100]: the ids recommended for raw query features."""
        self._repository.poll()
        with self._repository.lease() as model:
            signature = model.signature()
            return signature({**features, c.K: np.int32(K)})["ids"].numpy()


class Evaluator:
    """Asks arms and baselines at log rows, and keeps what each found.

    Args:
      log: all events, also those that nobody has learned from yet.
      run: a run, for the features that a request carries.
    """

    def __init__(self, log, run):
        self._log, self._builder = log, QueryBuilder(log)
        self._examples = examples_of(run, log)
        self._ids = log.items[c.ITEM_ID].to_numpy()
        self.rows = []  # one a query: day, user, and {arm: metrics}

    def ask(self, start, stop, day, arms):
        """Evaluates {name: `Arm`} and the baselines by the events from log row `start` to `stop`."""
        _, first, last = self._builder.spans(np.arange(start, stop))
        queries = self._builder.build(first, last)
        features = self._examples.raw_queries(queries.row)
        found = {name: arm.answer(features) for name, arm in arms.items()}
        found.update(zip(BASELINES, self._baselines(queries)))
        for i in range(len(queries)):
            wanted = self._ids[queries.targets.values[queries.targets.offsets[i]:queries.targets.offsets[i + 1]]]
            figures = {name: metrics(answer[i], wanted) for name, answer in found.items()}
            self.rows.append((day, int(queries.user[i]), figures))

    def _baselines(self, queries):
        log, own, popular = self._log, [], []
        for row, user in zip(queries.row, queries.user):
            recent = slice(int(np.searchsorted(log.timestamp, log.timestamp[row] - _MONTH)), int(row))
            counts = np.bincount(log.item[recent], minlength=len(self._ids)).astype(np.float64)
            past = self._builder.order[self._builder.starts[user]:self._builder.place[row]]
            mine = np.bincount(log.item[past], minlength=len(self._ids))
            popular.append(self._ids[np.argsort(-counts, kind="stable")[:K]])
            own.append(self._ids[np.argsort(-(mine + counts / (counts.max() + 1)), kind="stable")[:K]])
        return own, popular


def replay(settings, args, folder):
    """Runs the simulation; yields (the `Evaluator`, the arms) after each day."""
    cut, days, cuts = Days(settings.source, folder), args.days, args.cuts
    begin = int(datetime.datetime.fromisoformat(args.start + "+00:00").timestamp())
    oldest = begin - args.weeks * 7 * DAY
    log, _ = ingest(cut.between(oldest, begin + days * DAY))
    first = dataclasses.replace(settings, source=cut.between(oldest, begin))
    base = folder / "runs" / first.name / "base"
    if not (base / runs.EXPORT).exists():
        Recommender(first, directory=base).fit(verbose=2).export()
    rates = {TEN: 10 * settings.training.optimizer.learning_rate}
    arms = {name: Arm(base, folder / name, rates.get(name)) for name in ARMS}
    evaluator = Evaluator(log, base)
    since = begin  # which events the newest published full update has not been given
    for day in range(days):
        midnight = begin + day * DAY
        hours = [0, *cuts, 24]
        for a, b in zip(hours, hours[1:]):
            start, stop = (int(np.searchsorted(log.timestamp, midnight + hour * 3600)) for hour in (a, b))
            if start == stop:  # closed
                continue
            evaluator.ask(start, stop, day + 1, arms)
            now = midnight + b * 3600
            for name in ("incremental", TEN):
                arms[name].update_users(cut.between(begin, now))
            run = base.parent / f"day-{day + 1}"
            if b == 24 and _full(arms, cut.between(since, now), run):
                since = now
            else:
                arms["both"].update_users(cut.between(since, now))
        yield evaluator, arms


def _full(arms, source, directory):
    """A full update of the arms that have them; whether it was published."""
    start = time.perf_counter()
    update = update_full(arms["full"].run, source, directory=directory, verbose=0)
    arms["full"].seconds["full"].append(time.perf_counter() - start)
    if update.published is None:
        print("refused:", update.reason, flush=True)
        arms["full"].refused += 1
        return False
    for name in ("full", "both"):
        arms[name].adopt(update.published, directory)
    return True


def summary(rows, seeds):
    """One row an arm or baseline, over all seeds: the rows of their evaluators, the arms of each."""
    for name in (*ARMS, *BASELINES):
        row = {"arm": name, "queries": len(rows)}
        for metric, mean, (low, high) in zip(METRICS, means(rows, name), against(rows, name, "neither")):
            row[metric] = round(float(mean), 4)
            row[f"{metric} over neither"] = "–" if name == "neither" else f"[{low:+.4f}, {high:+.4f}]"
        if name in ARMS:
            full = sum((arms["full" if name == "both" else name].seconds["full"] for arms in seeds), [])
            users = sum((arms[name].seconds["users"] for arms in seeds), [])
            row["full updates"], row["refused"] = len(full), sum(arms["full"].refused for arms in seeds) if full else 0
            row["seconds a full update"] = round(common.median(full), 1) if full else None
            row["updates of user rows"] = len(users)
            row["seconds one"] = round(common.median(users), 1) if users else None
        yield row


def by_day(rows):
    """One row a day."""
    for day in sorted({day for day, _, _ in rows}):
        count = sum(d == day for d, _, _ in rows)
        values = {name: round(float(means(rows, name, day)[1]), 4) for name in (*ARMS, *BASELINES)}
        yield {"day": day, "queries": count, **values}


def draw(rows, path):
    """The picture: recall@100 by day, a line an arm."""
    with require("matplotlib").rc_context(style.pyplot()):
        figure = require("matplotlib.figure").Figure(figsize=(8.5, 4.6), layout="constrained")
        axes = figure.add_subplot()
        for place, name in enumerate((*ARMS, *BASELINES)):
            look = ":" if name in BASELINES else "-"
            width = 1.5 if name in BASELINES else 6 - 1.2 * place  # a line does not hide the one that it lies on
            axes.plot([row["day"] for row in rows], [row[name] for row in rows], look, lw=width, label=name)
        axes.set_xticks([row["day"] for row in rows])
        axes.set_xlabel("day")
        axes.set_ylabel("recall@100")
        axes.margins(x=0.02)
        style.name_lines(axes)
        figure.savefig(path, metadata={"Software": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_days(parser)
    args = parser.parse_args()
    asked, seeds = [], []
    for seed, folder in folders(args):
        for evaluator, arms in replay(recipe(seed), args, folder):
            common.record("replay", list(summary(asked + evaluator.rows, [*seeds, arms])))
            days = list(by_day(asked + evaluator.rows))
            draw(days, common.record("replay_by_day", days).with_suffix(".png"))
        asked, seeds = asked + evaluator.rows, [*seeds, arms]


if __name__ == "__main__":
    main()
