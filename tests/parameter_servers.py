"""`twotower train … --distribute servers`, by a cluster of processes: `python parameter_servers.py …`.

Two parameter servers and two workers, which are forked before TensorFlow starts, so that it is imported once.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from tfrs_twotower.cli.main import main  # noqa: E402
from tfrs_twotower.cli.training import run_training  # noqa: E402,F401 # all that a process needs, before it forks

_TASKS = [("ps", 0), ("ps", 1), ("worker", 0), ("worker", 1), ("chief", 0)]


def cluster():
    """{job: its tasks' addresses}, all free."""
    sockets = [socket.create_server(("localhost", 0)) for _ in _TASKS]
    found = {}
    for (job, _), s in zip(_TASKS, sockets):
        found.setdefault(job, []).append(f"localhost:{s.getsockname()[1]}")
        s.close()
    return found


def start(addresses, job, index):
    """Runs the command as a task of the cluster, in a process of its own if it is not the chief."""
    process = os.fork() if job != "chief" else 0
    if not process:
        os.environ["TF_CONFIG"] = json.dumps({"cluster": addresses, "task": {"type": job, "index": index}})
        status = main(["train", *sys.argv[1:], "--distribute", "servers"])
        if job != "chief":
            os._exit(status)
    return process


if __name__ == "__main__":
    addresses, others = cluster(), []
    try:
        for task in _TASKS:
            others.append(start(addresses, *task))
    finally:
        for process in filter(None, others):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
