"""A server that knows its users: answers a second, and how soon and at what cost it takes events and items in.

    python -m bench.bench_online                   # 1,000,000 x 64, about five minutes on two cores
    python -m bench.bench_online --rows 20000

`twotower serve` runs as a process of its own, with an SQLite store and a cache of vectors. A request over REST or gRPC
carries a user id and k = 100; the server finds the past. "Two processes" are those of `--processes 2`. In process, the
same signature gets the past with the request. Faiss (IVFFlat, as many probes as it takes for our recall) gets a vector:
in process, and in a process of its own behind a bare gRPC server with the same messages (`bench/faiss_server.py`). GET
/healthz does nothing: its time is that of REST itself. Latencies are of one client and of calls that take turns;
answers a second are of 8 clients at a time, and medians of rounds that take turns. The clients are Python threads of
one process and share the processors with the server.

The second record is of what changes while it serves. An effect's delay is from sending an event to having the user's
next answer, which is compared with the one before. Changed items come by POST /v1/items, to a server with an items log:
spells of searches with a stream of changes and without take turns.
"""

import argparse
import contextlib
import itertools
import tempfile
import threading
import time

import faiss
import numpy as np

from bench import common, online_changes, online_export
from bench.online_clients import HOT, GrpcBytes, RestBytes, fill_store, start, start_server
from bench.online_export import DIM, K
from tfrs_twotower import columns as c
from tfrs_twotower.serving import Repository

# This comes after tfrs_twotower, which sets up legacy Keras.
import tensorflow as tf  # isort: skip

_CLIENTS = 8
_FAISS, _SIGNATURE = "Faiss, in process", "signature, in process"
_TWO, _TWO_GRPC = "REST, user id, two processes", "gRPC, user id, two processes"


class Askers:
    """Makes a client of each path: a function of no arguments that asks for the next user's items.

    Args:
      model: the `LoadedModel` in this process. features, vectors: of the users. index: Faiss.
      ports: REST's and gRPC's of `twotower serve`. of_two: those of one with two processes. faiss_port: of Faiss's
        server.
    """

    def __init__(self, model, features, vectors, index, ports, of_two, faiss_port):
        self._features, self._vectors, self._index = features, vectors, index
        self._default, self._by_vector = model.signature(), model.signature(c.RECOMMEND_BY_VECTOR)
        self._ports = *ports, faiss_port
        self._seeds = itertools.count()
        self._once = itertools.count(HOT)  # next() is one step of the interpreter, so threads may share it
        self.paths = {
            "REST, user id": self._rest,
            _TWO: lambda: self._rest(of_two[0]),
            "REST, /healthz": self._healthz,
            "gRPC, user id": self._grpc,
            _TWO_GRPC: lambda: self._grpc(of_two[1]),
            "gRPC, user id, each user once": self._grpc_once,
            "gRPC, vector": lambda: self._vector_over(self._ports[1], c.RECOMMEND_BY_VECTOR),
            "Faiss over gRPC, vector": lambda: self._vector_over(self._ports[2]),
            _SIGNATURE: self._signature,
            "signature by vector, in process": self._search,
            _FAISS: self._faiss,
        }

    def _rest(self, port=None):
        return self._sent(RestBytes(port or self._ports[0]), lambda user: RestBytes.request(user + 1))

    def _healthz(self):
        client = RestBytes(self._ports[0])
        return lambda: client.send(b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n")

    def _grpc(self, port=None):
        return self._sent(GrpcBytes(port or self._ports[1]), self._of_user)

    def _grpc_once(self):
        client = GrpcBytes(self._ports[1])
        return lambda: client.send(self._of_user(next(self._once) % len(self._vectors)))

    def _vector_over(self, port, signature=""):
        return self._sent(GrpcBytes(port), lambda user: GrpcBytes.request(
            signature, embedding=self._vectors[user][np.newaxis], k=np.int32(K)))

    def _of_user(self, user):
        return GrpcBytes.request(user_id=np.array([user + 1]), k=np.int32(K))

    def _sent(self, client, request):
        """A call that sends the request of the next user, of those made before."""
        requests, user = [request(user) for user in range(HOT)], self._hot()
        return lambda: client.send(requests[next(user)])

    def _signature(self):
        user = self._hot()

        def call():
            row = next(user)
            raw = {name: tf.constant(values[row:row + 1]) for name, values in self._features.items()}
            return {name: value.numpy() for name, value in self._default({**raw, c.K: tf.constant(K)}).items()}

        return call

    def _search(self):
        user = self._hot()

        def call():
            query = tf.constant(self._vectors[next(user)][np.newaxis])
            return self._by_vector({c.EMBEDDING: query, c.K: tf.constant(K)})[c.IDS].numpy()

        return call

    def _faiss(self):
        user = self._hot()
        return lambda: self._index.search(self._vectors[next(user)][np.newaxis], K)

    def _hot(self):
        return itertools.cycle(np.random.default_rng(next(self._seeds)).permutation(HOT).tolist())


def answered(make, seconds):
    """Of 8 clients at a time: (answers a second, microseconds of this process's processor time for each)."""
    counts, calls, end = [0] * _CLIENTS, [make() for _ in range(_CLIENTS)], [0.0]

    def ask(number):
        while time.perf_counter() < end[0]:
            calls[number]()
            counts[number] += 1

    for call in calls:
        call()
    threads = [threading.Thread(target=ask, args=[number]) for number in range(_CLIENTS)]
    begin, busy = time.perf_counter(), time.process_time()
    end[0] = begin + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begin), 1e6 * (time.process_time() - busy) / sum(counts)


def compared(askers, recalls, rounds, seconds):
    """The first table's rows."""
    paths = askers.paths
    alone = {name: make() for name, make in paths.items() if name not in (_TWO, _TWO_GRPC)}  # one asks one process
    times = common.interleaved(alone, rounds, warmup=20)
    spells = {name: [] for name in paths}
    for _ in range(3):
        for name, make in paths.items():
            spells[name].append(answered(make, seconds))
    rate, busy = ({name: common.median([spell[at] for spell in found]) for name, found in spells.items()}
                  for at in (0, 1))
    return [
        {
            "path": name, "recall@100": None if "healthz" in name else recalls["Faiss" in name],
            **(_latencies(times, name) if name in times else {}),
            "per_s_8_clients": rate[name], "per_s_to_signature": rate[name] / rate[_SIGNATURE],
            "per_s_to_faiss": rate[name] / rate[_FAISS], "client_us": None if "in process" in name else busy[name],
        }
        for name in paths
    ]


def _latencies(times, name):
    p50, signature, of_faiss = (common.median(times[path]) for path in (name, _SIGNATURE, _FAISS))
    return {"ms_p50": 1e3 * p50, "ms_p99": 1e3 * np.quantile(times[name], 0.99), "p50_to_signature": p50 / signature,
            "p50_to_faiss": p50 / of_faiss}


def plain_faiss(vectors, queries, truth, recall):
    """IVFFlat with √n leaves and as many probes as it takes for this recall: (index, recall)."""
    index = faiss.index_factory(DIM, f"IVF{round(len(vectors) ** 0.5)},Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    index.nprobe = 1
    while (found := shared(index.search(queries, K)[1] + 1, truth)) < recall and index.nprobe < index.nlist:
        index.nprobe = min(index.nlist, index.nprobe + max(1, index.nprobe // 8))
    return index, found


def exact(vectors, queries):
    """int64 [queries, K]: the ids that exact search finds."""
    found = []
    for part in np.array_split(queries, max(1, len(queries) // 20)):
        scores = part @ vectors.T
        found.append(np.argpartition(-scores, K, axis=1)[:, :K] + 1)
    return np.concatenate(found)


def shared(ids, truth):
    """Recall: the mean share of the true ids that were found."""
    return float(np.mean([np.isin(right, given).mean() for given, right in zip(ids, truth)]))


def main(args, folder):
    """Makes, measures and records."""
    begin = time.perf_counter()
    vectors, features, report = online_export.write(f"{folder}/export", args.rows, args.users, args.kind, args.target)
    fill_store(folder, features)
    print(f"exported after {time.perf_counter() - begin:.0f} s; {report.settings}", flush=True)
    with contextlib.ExitStack() as stack:
        repository = Repository(f"{folder}/export")
        repository.poll()
        model = stack.enter_context(repository.lease())
        embedded = model.signature(c.EMBED_QUERY)({n: tf.constant(v) for n, v in features.items()})["embedding"].numpy()
        asked = embedded[-200:]  # none of the thousand that tuned the index
        truth = exact(vectors, asked)
        ids = model.signature(c.RECOMMEND_BY_VECTOR)({c.EMBEDDING: tf.constant(asked), c.K: tf.constant(K)})["ids"]
        recall = shared(ids.numpy(), truth)
        index, of_faiss = plain_faiss(vectors, asked, truth, recall)
        faiss.write_index(index, f"{folder}/faiss")
        print(f"Faiss after {time.perf_counter() - begin:.0f} s; {index.nprobe} of {index.nlist} leaves", flush=True)
        del vectors, truth
        with contextlib.ExitStack() as servers:
            _, ports = start_server(servers, folder)
            _, of_two = start_server(servers, folder, "--processes", 2)
            _, (faiss_port,) = start(servers, "bench.faiss_server", f"{folder}/faiss", index.nprobe, K, _CLIENTS)
            askers = Askers(model, features, embedded, index, ports, of_two, faiss_port)
            figures = compared(askers, {False: recall, True: of_faiss}, args.rounds, args.seconds)
            effect = online_changes.effects(ports[0], args.rows, args.rounds)
        ours = {key: report.settings[key] for key in ("leaves", "leaves_to_search", "probes", "reorder")
                if key in report.settings}
        about = {"vectors": f"{args.rows} x {DIM}", "index": f"{report.kind} {ours}, built in "
                 f"{report.build_seconds:.0f} s; Faiss IVF{index.nlist},Flat, {index.nprobe} probes", "note": args.note}
        common.record("online", [{**row, **(about if not at else {})} for at, row in enumerate(figures)])
    with contextlib.ExitStack() as servers:
        _, ports = start_server(servers, folder, "--items-log", f"{folder}/items")
        found = online_changes.changes(*ports, args.rows, args.rate, args.seconds)
    common.record("online_changes", [{**effect, "vectors": about["vectors"], "note": args.note}, *found])
    print(f"all after {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="items (default: %(default)s)")
    parser.add_argument("--users", type=int, default=5_000, help="with a past in the store (default: %(default)s)")
    parser.add_argument("--kind", default="scann", help="of the index (default: %(default)s)")
    parser.add_argument("--target", type=float, default=0.95, help="recall@100 (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=300, help="calls of each path (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each spell (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=50, help="items a second that change (default: %(default)s)")
    parser.add_argument("--note", default="", help="what else to say, for the record")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        main(arguments, temporary)
