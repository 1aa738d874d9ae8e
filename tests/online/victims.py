"""The work of processes that a test kills, or that kill themselves: functions for `Forked`."""

import os
import signal
import threading

from tfrs_twotower.cli.main import main
from tfrs_twotower.online import (
    Answer,
    AnswerLog,
    Event,
    SqliteFile,
    SqliteHistoryStore,
    collect,
    open_stores,
    sqlite,
)

NOON = 1_796_040_000  # 2026-11-30T12:00:00Z


def append(address):
    """Appends one event after the other, and prints the id of each that is acknowledged."""
    history = open_stores(address).history
    for n in range(100_000):
        history.append([Event(str(n), "u", "i", 1 + n)])
        print(n, flush=True)


def consume(*arguments):
    """`twotower consume`, which dies when it has stored events and not yet said so."""
    append = SqliteHistoryStore.append

    def dying(self, events):
        append(self, events)
        os.kill(os.getpid(), signal.SIGKILL)

    SqliteHistoryStore.append = dying
    return main(["consume", *arguments])


def add_columns(path):
    """Opens a store of an earlier version, and dies after three of the columns that it lacks."""

    class Dying(dict):
        def items(self):
            yield from list(super().items())[:3]
            os.kill(os.getpid(), signal.SIGKILL)

    sqlite._ADDED = Dying(sqlite._ADDED)
    SqliteHistoryStore(SqliteFile(path))


def record(folder):
    """Records answers by four threads, and prints the id of each that is acknowledged."""
    log = AnswerLog(folder, clock=lambda: NOON + 5000)

    def work(thread):
        for n in range(100_000):
            name = f"{thread}-{n}"
            log.record([Answer(name, "u", NOON + n % 7200, 1, "", {}, {}, [("i", "", 1.0)])])
            os.write(1, f"{name}\n".encode())  # one call, so that no other thread writes in between
            if thread == 0 and n % 10 == 9:
                log.rotate()

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def collect_again_and_again(address, log, out):
    """Collects one span of time after the other, and prints a line after the first."""
    history = open_stores(address).history
    for n in range(10**6):
        at = NOON - 100 + n * 700
        collect(history, [log], out, at - 3000, at)
        if n == 0:
            print("began", flush=True)
