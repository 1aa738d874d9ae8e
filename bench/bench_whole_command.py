"""How long `twotower train plain` takes in all, from the log to the export, with nothing set.

    python -m bench.bench_whole_command                                   MovieLens-100K and MovieLens-1M; half an hour
    python -m bench.bench_whole_command --logs "MovieLens-100K"

`minutes allowed` is what the command says it may take, on two cores. Run it on a machine without other work. Rows of
earlier runs stay, but for those of the same log.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import common
from bench.logs import LOGS, renamed
from tfrs_twotower.pipeline import runs
from tfrs_twotower.pipeline.racing import seconds_for


def run(name, folder):
    """The row of one log."""
    asked, files = [], renamed(LOGS[name]())
    for part, frame in files.items():
        path = Path(folder) / f"log{part}.parquet"
        frame.to_parquet(path, index=False)
        asked += [f"--{part.removeprefix('.') or 'interactions'}", str(path)]
    start = time.perf_counter()
    command = [sys.executable, "-m", "tfrs_twotower", "train", "plain", *asked, "--runs", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    latest = Path(folder) / "plain" / "latest"
    assert list((latest / runs.EXPORT).glob("*/saved_model.pb")) and runs.read_refit(latest)
    return {"log": name, "events": len(files[""]), "minutes": round(seconds / 60, 1),
            "minutes allowed": round(seconds_for(len(files[""])) / 60, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", nargs="+", default=["MovieLens-100K", "MovieLens-1M"], choices=LOGS, metavar="LOG")
    for name in parser.parse_args().logs:
        with tempfile.TemporaryDirectory() as folder:
            row = run(name, folder)
        kept = [line for line in common.recorded("whole_command") if line["log"] != name]
        common.record("whole_command", sorted([*kept, row], key=lambda line: list(LOGS).index(line["log"])))


if __name__ == "__main__":
    main()
