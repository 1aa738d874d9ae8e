"""`twotower train … --distribute servers`, by a cluster of processes: `python parameter_servers.py …`.

Two parameter servers and two workers, which are forked before TensorFlow starts, so that it is imported once.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from distributed import cluster  # noqa: E402

from tfrs_twotower.cli.main import main  # noqa: E402
from tfrs_twotower.cli.training import run_training  # noqa: E402,F401 # all that a process needs, before it forks


def run(addresses, job, index):
    """Runs the command as a task of the cluster; returns its exit status."""
    os.environ["TF_CONFIG"] = json.dumps({"cluster": addresses, "task": {"type": job, "index": index}})
    return main(["train", *sys.argv[1:], "--distribute", "servers"])


def start(addresses, job, index):
    """Runs the command as a task of the cluster, in a process of its own; returns its id."""
    process = os.fork()
    if not process:
        try:
            os._exit(run(addresses, job, index))
        except BaseException:
            traceback.print_exc()
            os._exit(1)  # the tasks of others are their parent's to end
    return process


if __name__ == "__main__":
    addresses, others = cluster(ps=2, worker=2, chief=1), []
    try:
        for job in ("ps", "worker"):
            others += [start(addresses, job, index) for index in range(2)]
        sys.exit(run(addresses, "chief", 0))
    finally:
        for process in others:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
