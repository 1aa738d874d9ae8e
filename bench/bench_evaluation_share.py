"""What part of a run's time goes into measuring it: validation after each epoch, the final evaluation, the baselines.

    python -m bench.bench_evaluation_share                            a million events, the time that `plain` allows
    python -m bench.bench_evaluation_share --events 200000 --minutes 3

The log is synthetic: eleven events a user, twenty an item, popularity by Zipf, users and items in 200 groups. The
recipe is `plain` with nothing set but the time. Seconds are CPU seconds of the process, so other work on the machine
counts little. `training` is the steps of all candidates, of the winner and of the refit. `validation` ranks validation
queries after each epoch, `choice` ranks them once, for the choice of half-lives and penalties. `test` is the final
evaluation of the model and of the fitted baselines with all intervals, `baselines` their fitting and tuning. `share` is
that of `validation`, `choice`, `test` and `baselines` in `run`, from the log to the export. `resident GiB` is the
process's peak, mapped files included.

`share_at_default` is arithmetic, for a run with fewer minutes: training and validation as they are, for as many CPU
seconds as the default time has seconds for them (.69 of it: the race, the winner's further epochs, the refit), and all
else once. So it takes training to keep one core busy; a second one makes the share smaller. Rows of earlier runs stay,
but for those of the same events, minutes and label. In the row "before, quiet", `validation` holds `choice`, and
`share_at_default` is by wall seconds.
"""

import argparse
import contextlib
import dataclasses
import functools
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bench import common
from tfrs_twotower import recipes
from tfrs_twotower.evaluation import Baselines
from tfrs_twotower.pipeline import evaluated_run, racing, trained_run, trainings
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.searching import Validation
from tfrs_twotower.recommender import Recommender

_GROUPS, _OWN, _DAYS = 200, 0.8, 100
NAME = "evaluation_share"
_STAGES = ("training", "validation", "choice", "test", "baselines")


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
        self.seconds = {}

    @contextlib.contextmanager
    def stage(self, name):
        start, before = time.process_time(), sum(self.seconds.values())
        try:
            yield
        finally:
            inner = sum(self.seconds.values()) - before
            self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start - inner

    def of(self, owner, method, name):
        """Times each call of the owner's method as this stage."""
        setattr(owner, method, self.timed(getattr(owner, method), name))

    def timed(self, function, name):
        """The function as this stage."""
        @functools.wraps(function)
        def found(*args, **kwargs):
            with self.stage(name):
                return function(*args, **kwargs)

        return found


def watch(clock):
    """Times the parts of a run as stages. What is in none of them is the stage "rest" of the caller."""
    for module in (racing, trained_run, trainings):
        clock.of(module, "fit", "training")
    clock.of(Assembly, "start", "rest")  # once, however many epochs follow
    clock.of(Validation, "by_weights", "validation")
    clock.of(Baselines, "__init__", "baselines")
    clock.of(evaluated_run, "evaluated", "test")
    clock.of(Assembly, "_monitored_each", "choice")


def share(spent, more=1.0):
    """The share of measuring, if training and validation took `more` times as long."""
    measuring = more * spent["validation"] + spent["choice"] + spent["test"] + spent["baselines"]
    return measuring / (measuring + more * spent["training"] + spent["rest"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, help="as of `twotower train plain`")
    parser.add_argument("--label", default="", help="a word in the record")
    args = parser.parse_args()
    clock = Clock()
    watch(clock)
    recipe = recipes.load("plain")
    recipe = dataclasses.replace(recipe, race=dataclasses.replace(recipe.race, minutes=args.minutes))
    frame = log_of(args.events)
    with tempfile.TemporaryDirectory() as folder:
        trained = Recommender(recipe, frame, directory=Path(folder) / "run")
        start = time.perf_counter()
        with clock.stage("rest"):
            trained.run(verbose=2)
        minutes = (time.perf_counter() - start) / 60
    spent = {name: clock.seconds.get(name, 0.0) for name in (*_STAGES, "rest")}
    # The race, the winner's further epochs, and the refit, which repeats half of the race and the further epochs.
    planned = (1.5 * racing._RACE + 2 * racing._TRAINING) * racing.seconds_for(args.events)
    row = {
        "events": args.events, "users": frame.user_id.nunique(), "items": frame.item_id.nunique(),
        "minutes asked": args.minutes or "default", "label": args.label,
        "test queries": trained.figures["protocol"]["queries"],
        "run": round(sum(spent.values())), **{name: round(spent[name]) for name in _STAGES},
        "share": round(share(spent), 3),
        "share_at_default": round(share(spent, planned / (spent["training"] + spent["validation"])), 3),
        "wall minutes": round(minutes, 1),
        "resident GiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1),
    }
    key = ("events", "minutes asked", "label")
    kept = [line for line in common.recorded(NAME) if [line[k] for k in key] != [row[k] for k in key]]
    common.record(NAME, [*kept, row])


if __name__ == "__main__":
    main()
