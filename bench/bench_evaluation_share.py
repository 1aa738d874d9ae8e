"""What part of a run's time goes into measuring it: validation after each epoch, the final evaluation, the baselines.

    python -m bench.bench_evaluation_share                            a million events, the time that `plain` allows
    python -m bench.bench_evaluation_share --events 200000 --minutes 3

The log is synthetic: eleven events a user, twenty an item, popularity by Zipf, users and items in 200 groups. The
recipe is `plain` with nothing set but the time. Seconds are CPU seconds of the process, so other work on the machine
counts little. `validation` is all that ranks validation queries: after each epoch, and for the choice of half-lives,
penalties and weights. `share` is that of `validation`, `test` and `baselines` in `run`, from the log to the export.
Rows of earlier runs stay, but for those of the same events, minutes and label.
"""

import argparse
import contextlib
import dataclasses
import functools
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bench import common
from tfrs_twotower import recipes, recommender
from tfrs_twotower.evaluation import Baselines
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.searching import Validation

_GROUPS, _OWN, _DAYS = 200, 0.8, 100
NAME = "evaluation_share"


def log_of(events, seed=0):
    """A frame of about so many events."""
    rng = np.random.default_rng(seed)
    users, items = max(events // 11, 1), max(events // 20, _GROUPS)
    user = rng.integers(0, users, events)
    # Item i is of the group i modulo the number of groups; of each group the first items are the most popular ones.
    place = (items // _GROUPS * rng.random(events) ** 4).astype(int)
    group = np.where(rng.random(events) < _OWN, user % _GROUPS, rng.integers(0, _GROUPS, events))
    moment = 1_700_000_000 + rng.integers(0, 86_400 * _DAYS, events)
    return pd.DataFrame({"user_id": user, "item_id": place * _GROUPS + group, "timestamp": moment})


class Clock:
    """CPU seconds by stage; a stage within another one counts in the inner one alone."""

    def __init__(self):
        self.seconds, self._open = {}, []

    @contextlib.contextmanager
    def stage(self, name):
        start, outer = time.process_time(), self._open
        self._open = [*outer, name]
        before = dict(self.seconds)
        try:
            yield
        finally:
            inner = sum(self.seconds.values()) - sum(before.values())
            self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start - inner
            self._open = outer

    def of(self, owner, method, name):
        """Times each call of the owner's method as this stage."""
        found = getattr(owner, method)

        @functools.wraps(found)
        def timed(*args, **kwargs):
            with self.stage(name):
                return found(*args, **kwargs)

        setattr(owner, method, timed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, help="as of `twotower train plain`")
    parser.add_argument("--label", default="", help="a word in the record")
    args = parser.parse_args()
    clock = Clock()
    clock.of(Validation, "by_weights", "validation")
    clock.of(Assembly, "choose_terms", "validation")
    clock.of(Baselines, "__init__", "baselines")
    clock.of(recommender, "evaluated", "test")
    recipe = recipes.load("plain")
    recipe = dataclasses.replace(recipe, race=dataclasses.replace(recipe.race, minutes=args.minutes))
    frame = log_of(args.events)
    with tempfile.TemporaryDirectory() as folder:
        trained = recommender.Recommender(recipe, frame, directory=Path(folder) / "run")
        start = time.perf_counter()
        with clock.stage("rest"):
            trained.run(verbose=2)
        minutes = (time.perf_counter() - start) / 60
    spent = clock.seconds
    whole = sum(spent.values())
    row = {
        "events": args.events, "users": frame.user_id.nunique(), "items": frame.item_id.nunique(),
        "minutes asked": args.minutes or "default", "label": args.label,
        "test queries": trained.figures["protocol"]["queries"],
        "run": round(whole), **{name: round(spent.get(name, 0.0)) for name in ("validation", "test", "baselines")},
        "share": round(1 - spent["rest"] / whole, 3), "wall minutes": round(minutes, 1),
    }
    key = ("events", "minutes asked", "label")
    kept = [line for line in common.recorded(NAME) if [line[k] for k in key] != [row[k] for k in key]]
    common.record(NAME, [*kept, row])


if __name__ == "__main__":
    main()
