"""What it costs a server to close the loop: to keep what it answers and what happens, and to split users into arms.

    python -m bench.bench_serving_loop

Each row is a `twotower serve` of its own, over the same export and the same past of the users. All have an SQLite store
and a cache of vectors; "bare" has nothing else. "all" adds --log-requests, --arms (two of one model), --archive and
--items-log. The export has an `ItemStatistic`, and 1,000 items have events of the last hour in the store, so with an
items log the server has given these new vectors. "all, --log-behind" does not wait for the disk.

Requests are of one kept connection over REST and take turns; answers a second are of 8 clients at a time, medians of
rounds that take turns. `cpu_ms` is the server's own time of the processors for one request of these 8 clients.
"""

import argparse
import contextlib
import itertools
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from bench import common, online_export
from bench.bench_online import answered
from bench.online_clients import HOT, Rest, RestBytes, fill_store, start_server
from tfrs_twotower.online import Event, open_stores

_MOVED = 1000  # items
_LOOK = 15  # seconds: the server has then looked what to count
_ARMS = {"salt": "bench", "arms": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]}


def options(folder, name):
    """The options of each server."""
    of = Path(folder, name)
    of.mkdir()
    (of / "arms.json").write_text(json.dumps(_ARMS))
    return ["--log-requests", of / "log", "--arms", of / "arms.json", "--archive", of / "archive",
            "--items-log", of / "items"]


def askers(port, numbers):
    """{path: makes a function of no arguments that sends one request}."""
    client, requests = Rest(port), [RestBytes.request(user + 1) for user in range(HOT)]

    def users():
        return itertools.cycle(np.random.default_rng(next(numbers)).permutation(HOT).tolist())

    def predict():
        own, user = RestBytes(port), users()
        return lambda: own.send(requests[next(user)])

    def recommend():
        user = users()
        return lambda: client.post("/v1/recommend", {"user_id": next(user) + 1, "k": 20})

    def event():
        return lambda: client.post("/v1/events", {"events": [
            {"event_id": f"new:{next(numbers)}", "user_id": HOT + 1, "item_id": 1}
        ]})

    return {":predict": predict, "/v1/recommend": recommend, "/v1/events": event}


def count_on(folder, store, rows, users):
    """Puts an event of the hour before this one into the store, of each of some items. Another user has each."""
    before = int(time.time()) // 3600 * 3600 - 1
    with contextlib.closing(open_stores(f"sqlite:{folder}/{store}")) as stores:
        stores.history.append([Event(f"moved:{n}", str(users + 1 + n), str(1 + n * (rows // _MOVED)), before)
                               for n in range(_MOVED)])


def cpu_seconds(process):
    """The time of the processors that a process has had."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(args, folder):
    """Makes, measures and records."""
    _, features, _ = online_export.write(f"{folder}/export", args.rows, args.users, "scann", 0.95, statistic=True)
    numbers = itertools.count()
    names = ("bare", "all", "all, --log-behind")
    with contextlib.ExitStack() as stack:
        servers, calls = {}, {}
        for at, name in enumerate(names):
            fill_store(folder, features, f"{at}.db")
            count_on(folder, f"{at}.db", args.rows, args.users)
            more = [] if name == "bare" else options(folder, str(at)) + (["--log-behind"] if "behind" in name else [])
            process, (rest, _) = start_server(stack, folder, *more, store=f"{at}.db")
            servers[name], calls[name] = process, askers(rest, numbers)
        time.sleep(_LOOK)
        singly = {(name, path): make() for name in names for path, make in calls[name].items()}
        seconds = common.interleaved(singly, args.rounds, warmup=30)
        rates, costs = {name: [] for name in names}, {name: [] for name in names}
        for _ in range(3):
            for name in names:
                before = cpu_seconds(servers[name])
                rates[name].append(answered(calls[name][":predict"], args.seconds)[0])
                costs[name].append((cpu_seconds(servers[name]) - before) / (rates[name][-1] * args.seconds))
    p50 = {key: common.median(values) for key, values in seconds.items()}
    rate = {name: common.median(values) for name, values in rates.items()}
    common.record("serving_loop", [
        {
            "server": name, "path": path, "ms_p50": 1e3 * p50[name, path],
            "ms_p99": 1e3 * np.quantile(seconds[name, path], 0.99), "p50_to_bare": p50[name, path] / p50["bare", path],
            **({"per_s_8_clients": rate[name], "per_s_to_bare": rate[name] / rate["bare"],
                "cpu_ms": 1e3 * common.median(costs[name])} if path == ":predict" else {}),
            **({"vectors": f"{args.rows} x {online_export.DIM}", "note": args.note} if not at else {}),
        }
        for at, (name, path) in enumerate(seconds)
    ])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="items (default: %(default)s)")
    parser.add_argument("--users", type=int, default=1_000, help="with a past in the store (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=300, help="requests of each path (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each spell (default: %(default)s)")
    parser.add_argument("--note", default="", help="what else to say, for the record")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        begin = time.perf_counter()
        main(arguments, temporary)
        print(f"all after {time.perf_counter() - begin:.0f} s")
