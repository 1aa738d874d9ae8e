"""What the two weeks of `make loop` came to, as a record.

    make loop                               two simulated weeks, into build/loop
    .venv/bin/python -m bench.bench_loop    records them, with their picture

`notebooks/loop.py` says what is simulated. The columns of lists are the clicks a request that a list can expect by the
click model: the lists that were served; today's model; yesterday's model (a shadow arm), for the same requests; the
products that were clicked most so far; random ones.
"""

import argparse
import json
from pathlib import Path

from bench import common
from notebooks.loop import draw


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default="build/loop", help="of `make loop` (default: %(default)s)")
    folder = Path(parser.parse_args().folder)
    days = json.loads((folder / "loop.json").read_text())["days"]
    draw(days, common.RESULTS / "loop.png")
    common.record("loop", [{name: value for name, value in day.items() if name != "seconds"} for day in days])


if __name__ == "__main__":
    main()
