"""Two weeks of a shop whose recommender learns from what it shows: `make loop`.

    python -m notebooks.loop [--days 14] [--users 150] [--requests 500] [--folder build/loop]

People of the grocery sample have hidden tastes (`loop_world.py`). They ask a real `twotower serve` process for
products, look at some places, and click. The shop knows no more than the server records. A `Calendar` says what happens
on which day (`loop_days.py`), the nights train (`loop_nights.py`), and `loop_parts.py` has processes and clock.

It ends with a table and a picture: the clicks that the model's lists of a day can expect by the click model, against
lists of random products, of those that were clicked most, and of yesterday's model, for the same requests. In the
table, "served" also has the lists of an experiment's other arm.
"""

import argparse
import json
import logging
import os
import shutil
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas as pd  # noqa: E402

from notebooks.loop_days import LINES, Loop  # noqa: E402
from notebooks.loop_settings import Settings  # noqa: E402
from tfrs_twotower.extras import require  # noqa: E402
from tfrs_twotower.report import style  # noqa: E402


def draw(days, path=None):
    """The picture: expected clicks per request by day, a line a kind of list; a Matplotlib figure."""
    days = pd.DataFrame(days)
    with require("matplotlib").rc_context(style.pyplot()):
        figure = require("matplotlib.figure").Figure(figsize=(8.5, 4.6), layout="constrained")
        axes = figure.add_subplot()
        for name in LINES:
            axes.plot(days["day"], days[name], "-" if name == LINES[0] else "--", lw=2.4 if name == LINES[0] else 1.4,
                      label=name)
        axes.set(xlabel="day", ylabel="expected clicks per request", xticks=days["day"], ylim=(0, None))
        axes.margins(x=0.02)
        style.name_lines(axes)
        if path:
            figure.savefig(path, metadata={"Software": None})
    return figure


def play(settings, folder, say=print):
    """All days; returns (the rows of the table, what was counted at the end, what the gate found each night)."""
    loop = Loop(settings, folder, say).open()
    try:
        for day in range(1, settings.days + 1):
            loop.day(day)
        return loop.days, loop.close(), loop.trainer.nights
    finally:
        loop.server.process.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("days", "users", "requests", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Settings, name), help="default: %(default)s")
    parser.add_argument("--folder", default="build/loop", help="for all files, removed first (default: %(default)s)")
    args = parser.parse_args()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    start, folder = time.perf_counter(), Path(args.folder)
    shutil.rmtree(folder, ignore_errors=True)
    settings = Settings(days=args.days, users=args.users, requests=args.requests, seed=args.seed)
    days, end, nights = play(settings, folder)
    draw(days, folder / "loop.png")
    (folder / "loop.json").write_text(json.dumps({"days": days, "end": end, "nights": nights}, indent=1))
    print(pd.DataFrame(days).drop(columns="what happened").to_string(index=False))
    print(f"{end['acknowledged']} events were acknowledged, {end['lost']} of them lost, {end['twice']} there twice.")
    print(f"{folder}/loop.png and loop.json, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
