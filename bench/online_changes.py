"""What changes while a server answers: events of users, and items."""

import contextlib
import itertools
import threading
import time

import numpy as np

from bench import common
from bench.online_clients import HOT, Grpc, Rest
from bench.online_export import K


def effects(port, rows, rounds):
    """Delays from an event to the user's next answer, and how many of these answers differed."""
    client, generator, seconds, differ = Rest(port), np.random.default_rng(2), [], 0
    for number in range(rounds):
        user, item = 1 + number % HOT, int(generator.integers(1, rows + 1))
        before = client.recommend(user)
        begin = time.perf_counter()
        client.post("/v1/events", {"events": [{"event_id": f"new:{number}", "user_id": user, "item_id": item}]})
        after = client.recommend(user)
        seconds.append(time.perf_counter() - begin)
        differ += after != before
    return {
        "what": "event to the next answer", "ms_p50": 1e3 * common.median(seconds),
        "ms_p99": 1e3 * np.quantile(seconds, 0.99), "settings": f"{differ} of {rounds} next answers differed",
    }


class Changes:
    """Edits one item after another by POST /v1/items."""

    def __init__(self, port, rows):
        self._client, self._rows, self.done = Rest(port), rows, 0

    def send(self, count):
        """`count` items in one request."""
        ids = [1 + (self.done + i) % self._rows for i in range(count)]
        self._client.post("/v1/items", {"changed": [{"item_id": i} for i in ids]})
        self.done += count

    def per_second(self, count, seconds):
        """Items a second in requests of `count`, one after the other."""
        begin, before = time.perf_counter(), self.done
        while time.perf_counter() - begin < seconds:
            self.send(count)
        return (self.done - before) / (time.perf_counter() - begin)

    @contextlib.contextmanager
    def streaming(self, rate):
        """`rate` requests of one item a second while the block runs."""
        stop = threading.Event()

        def run():
            begin = time.perf_counter()
            for number in itertools.count(1):
                if stop.wait(max(0.0, begin + number / rate - time.perf_counter())):
                    return
                self.send(1)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def changes(rest_port, grpc_port, rows, rate, seconds):
    """The rows of item changes: searches with and without them, and how many a second."""
    items, user, client = Changes(rest_port, rows), itertools.cycle(range(1, HOT + 1)), Grpc(grpc_port)

    def searches():
        found, begin = [], time.perf_counter()
        while time.perf_counter() - begin < seconds:
            at = time.perf_counter()
            client.ask(user_id=np.array([next(user)]), k=K)
            found.append(time.perf_counter() - at)
        return np.array(found)

    searches()  # the first of each user
    spells = {"none": [searches()], "come": [], "pause": []}
    for _ in range(4):
        with items.streaming(rate):
            spells["come"].append(searches())
        spells["pause"].append(searches())
    few = items.done
    singly, many = items.per_second(1, seconds), items.per_second(250, seconds)
    spells["many"] = [searches()]
    named = {
        "none": "gRPC, user id, items log, no change yet", "come": f"… while {rate} items a second change",
        "pause": f"… in the pauses between, up to {few:,} changed", "many": f"… {items.done:,} items changed",
    }
    p50 = {kind: common.median([np.median(s) for s in spell]) for kind, spell in spells.items()}
    found = [
        {
            "what": named[kind], "ms_p50": 1e3 * p50[kind], "ms_p99": 1e3 * np.quantile(np.concatenate(spell), 0.99),
            "p50_to_no_change": p50[kind] / p50["none"], "p50_to_pauses": p50[kind] / p50["pause"],
        }
        for kind, spell in spells.items()
    ]
    return found + [
        {"what": f"POST /v1/items, {count}", "items_per_s": rate}
        for count, rate in (("an item a request", singly), ("250 items a request", many))
    ]
