"""Versions swap and are rolled back, Redis restarts, the disk fills, the process is killed, while events and items
stream in: nothing is lost.

The short form disturbs once and runs with all tests. `make test-chaos` disturbs for three minutes, with both stores.
The full disk is a limit on the size of the process's files (RLIMIT_FSIZE), as no file system can be mounted everywhere.
"""

import contextlib
import os
import resource
import shutil
import time

import ports
import pytest
import redis_server
from chaos.chaos import Load, Process

from tests.chaos import chaos_export
from tfrs_twotower.cli.main import main
from tfrs_twotower.online import open_stores, read_answers, read_seen

SECONDS = float(os.environ.get("TWOTOWER_CHAOS_SECONDS", 0))
STORES = ("sqlite", "redis") if SECONDS else ("sqlite",)
RATE = 10


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Exports 1 and 2, to be published from."""
    folder = tmp_path_factory.mktemp("made")
    for number in (1, 2):
        chaos_export.write(folder, number)
    return folder


def publish(made, root, load, version, damaged=False):
    """Puts a version under `root` in one step."""
    aside = root / f".{version}"
    shutil.copytree(made / "2", aside)
    if damaged:
        with open(aside / "saved_model.pb", "r+b") as file:
            file.truncate(1000)
    else:
        load.published[version] = 2
    aside.rename(root / str(version))


def until_answered(load, version):
    """Waits until the version answers."""
    deadline = time.monotonic() + 120
    while not any(lowest == version for _, _, lowest, _ in load.answers[-50:]):
        assert time.monotonic() < deadline, f"version {version} does not answer"
        time.sleep(0.05)


def fill_disk(process, folder, load):
    """Until a request has met it, no file of the server can grow."""
    met, deadline = load.again[503], time.monotonic() + 60
    used = max((path.stat().st_size for path in folder.iterdir() if path.is_file()), default=0)
    _, most = resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (min(used, 4096), most))
    while load.again[503] == met and time.monotonic() < deadline:
        time.sleep(0.05)
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (most, most))


def restart_redis(server):
    server.kill()
    time.sleep(0.3)
    server.start()


@pytest.mark.parametrize("kind", STORES)
def test_nothing_is_lost(made, tmp_path, kind):
    root, folder = tmp_path / "exports", tmp_path / "store"
    root.mkdir(), folder.mkdir()
    shutil.copytree(made / "1", root / "1")
    with redis_server.running() as redis:
        store = f"sqlite:{folder}/store.db" if kind == "sqlite" else redis.url
        process = Process(root, store, redis.url, tmp_path / "items", tmp_path / "log", *ports.free(2))
        try:
            process.wait()
            with Load(process.address, process.grpc_address, RATE) as load:
                load.published[1] = 1
                disturb(process, redis, made, root, folder, load, time.monotonic() + SECONDS / len(STORES))
            items = load.items()
            assert process.stop() == 0
        finally:
            process.process.kill()
        load.check()
        with contextlib.closing(open_stores(store)) as stores:
            users = sorted(set(load.acknowledged.values()))
            kept = dict(zip(users, stores.history.last(users, 100_000)))
            profiles = stores.profiles.get(list(load.profiles))
    stored = [event.event_id for events in kept.values() for event in events]
    print(f"{kind}: {len(load.answers)} answers, {len(load.acknowledged)} events, {len(load.there)} new items, "
          f"sent again: {dict(load.again)}")
    assert load.lost == [] and load.wrong == []
    assert items == load.there and items
    assert load.again[503]  # the full disk was met
    assert load.answers and set(load.acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))  # sent again, counted once
    assert profiles == list(load.profiles.values()) and profiles
    assert load.given and load.given <= {*read_answers(tmp_path / "log")["answer_id"].to_pylist()}
    seen = [(row["answer_id"], *row["place"]) for row in read_seen(tmp_path / "log").to_pylist()]
    assert set(load.told) <= set(seen) and load.told


def disturb(process, redis, made, root, folder, load, end):
    """One round of everything, then more until `end`."""
    until_answered(load, 1)
    publish(made, root, load, 2)
    until_answered(load, 2)
    load.published[3] = 1
    assert main(["rollback", str(root)]) == 0
    until_answered(load, 3)
    publish(made, root, load, 4, damaged=True)  # is refused, and 3 goes on
    rounds = 0
    while not rounds or time.monotonic() < end:
        restart_redis(redis)
        fill_disk(process, folder, load)
        process.kill()
        process.wait()
        rounds += 1


def test_what_counts_as_a_wrong_version():
    load = Load("http://127.0.0.1:9", "127.0.0.1:9", RATE)
    answers = [(0, 1, 1, 1), (0.5, 2, 2, 2), (1.5, 3, 1, 1), (2.5, 4, 2, 2), (3.5, 4, 1, 3), (4.5, 5, 1, 1)]
    load.answers = answers  # began, ended, the lowest and the highest version that it can be of
    load.check()
    assert load.wrong == [(1, 2)]  # the last one; the third began before 2 had answered
