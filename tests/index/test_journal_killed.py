"""The log of an index whose process is killed anywhere: it keeps what was acknowledged."""

import os
import random
import signal
import threading
import time

from flat_index import Flat

from tests.index.durable_index import DIM, SPACE, held, opened
from tfrs_twotower.index.mutable import MutableIndex


def in_a_child(work):
    """Runs `work(pipe end)` in a forked process; returns (its process id, file that reads what it writes)."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            work(writing)
        finally:
            os._exit(0)
    os.close(writing)
    return child, os.fdopen(reading)


def test_killed_at_every_step_of_a_compaction(tmp_path, monkeypatch):
    """SIGKILL before the n-th call of fsync, rename, truncate or unlink, for every n, with a change in the build."""
    def child(folder, steps):
        calls = [0]

        def counted(function):
            def call(*args):
                calls[0] += 1
                if calls[0] == steps:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args)
            return call

        def build(vectors):
            if ready:
                index.upsert(["meanwhile"], [[6, 6]])
                os.write(pipe[0], b"acknowledged\n")
            return Flat(vectors)

        def work(writing):
            nonlocal index
            pipe[0] = writing
            index = MutableIndex(build, DIM, folder=folder, space=SPACE)
            index.upsert(["a", "b"], [[1, 1], [2, 2]])
            index.delete(["b"])
            ready.append(True)
            for called in ("fsync", "rename", "ftruncate", "unlink"):
                setattr(os, called, counted(getattr(os, called)))
            index.compact()
            os.write(writing, b"done\n")

        index, ready, pipe = None, [], [0]
        return in_a_child(work)

    for steps in range(1, 40):
        folder = tmp_path / str(steps)
        process, output = child(folder, steps)
        said = output.read().split()
        os.waitpid(process, 0)
        again = opened(folder)
        items = held(again)
        again.close()
        assert items.pop("meanwhile", None) == [6, 6] or "acknowledged" not in said
        assert items == {"a": [1, 1]}
        if "done" in said:
            break
    assert 8 < steps < 39


def test_killed_while_writers_write_and_it_compacts(tmp_path):
    """The parent kills at a random moment; every change that the child said to be done is there, in order."""
    def work(writing):
        index = opened(tmp_path)
        start = max([int(v[0]) for v in held(index).values()], default=0) + 1
        stop = threading.Thread(target=lambda: [index.compact() for _ in range(10_000)], daemon=True)
        stop.start()
        for n in range(start, start + 100_000):
            if n % 3:
                index.upsert([f"i{n % 10}", "last"], [[n, 1], [n, 2]])
            else:
                index.delete([f"i{n % 10}"])
            os.write(writing, f"{n}\n".encode())

    generator, done, truth = random.Random(0), 0, {}
    for _ in range(6):
        process, output = in_a_child(work)
        first = output.readline()
        time.sleep(generator.uniform(0, 0.2))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        lines = [first, *output.read().split("\n")]
        numbers = [int(line) for line in lines if line.strip()]
        assert numbers and numbers[0] == done + 1
        for n in range(done + 1, numbers[-1] + 1):
            _follow(truth, n)
        index = opened(tmp_path)
        items = held(index)
        index.close()
        done = numbers[-1]
        if items != truth:  # one more change may be there whole: it was written and not yet acknowledged
            done += 1
            _follow(truth, done)
        assert items == truth
        if done % 3 == 0:  # the next child counts from the largest number that it finds
            index = opened(tmp_path)
            done += 1
            index.upsert(["last"], [[done, 2]])
            index.close()
            truth["last"] = [done, 2]


def _follow(truth, n):
    if n % 3:
        truth[f"i{n % 10}"], truth["last"] = [n, 1], [n, 2]
    else:
        truth.pop(f"i{n % 10}", None)
