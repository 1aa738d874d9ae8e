"""An index in 1, 2 and 4 shards: recall, latency, and the memory of all parts and of one part.

    python -m bench.bench_index_shards                            # 200,000 x 64, with ScaNN parts
    python -m bench.bench_index_shards --rows 1000000 --kinds faiss_ivf
    python -m bench.bench_index_shards --processes                # the front over `twotower serve --shard i/n`

The vectors are those of `bench_index`. All run as a server runs them: read from the files of an export, searched with
NumPy arrays, parts in threads of this process. Times are medians of calls that take turns; `to_one` divides by the
index in one shard of the same kind. `mb_all` and `mb_part` are what a process of its own grows by (resident memory)
when it reads all parts, or one, and searches once.

With `--processes` each part is a process of its own on this machine, asked over gRPC as by a server in front of them.
`ms_p50` and `ms_p99` are of its searches, `ms_p50_threads` of the same parts in threads of one process; the calls of
both take turns, and find the same rows. `to_threads` is the median of the pairs' ratios, `to_one` that to one shard.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench import common
from bench.bench_index import K, mixture, settings_of
from tfrs_twotower import extras
from tfrs_twotower.configuration import to_dict
from tfrs_twotower.exporting import manifest
from tfrs_twotower.index import Exact, IndexConfig, ShardedKind, build, kind_of
from tfrs_twotower.serving import ShardsKind

BATCH = 32


def held(kind, folder, number):
    """Megabytes that this process grows by when it reads part `number` (0: all parts) and searches once."""
    extras.require(kind.kind.op_library or kind.kind.called().partition("_")[0])  # the libraries are not counted
    before = _resident()
    index = kind.load_part(folder, number).held if number else kind.load(folder)
    index.search(np.zeros([1, index.dim], np.float32), K)
    return (_resident() - before) / 1e6


def _resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _held_elsewhere(named, shards, folder, number):
    command = [sys.executable, "-m", "bench.bench_index_shards", "--held", named, str(shards), str(folder), str(number)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def main(rows, dim, target, kinds, counts):
    vectors, queries = mixture(rows, dim, 2000)
    tuning, asked = queries[:1000], queries[1000:]
    truth = np.concatenate([Exact(vectors).search(asked[i:i + 250], K).rows for i in range(0, len(asked), 250)])
    figures = []
    with tempfile.TemporaryDirectory() as aside:
        for named in kinds:
            indexes, rows_of = {}, {}
            for shards in counts:
                kind, folder = ShardedKind(kind_of(named), shards), Path(aside) / f"{named}-{shards}"
                index, report = build(IndexConfig(kind=kind, k=K, target_recall=target), vectors, tuning)
                folder.mkdir()
                kind.save(index, folder)
                del index
                memory = [_held_elsewhere(named, shards, folder, number) for number in (0, 1)]
                indexes[shards] = kind.load(folder)
                text = settings_of(named, report.settings["parts"][0])
                rows_of[shards] = {"mb_all": memory[0], "mb_part": memory[1],
                                   "settings": f"{text}; built in {report.build_seconds:.0f} s"}
                print(named, shards, rows_of[shards], flush=True)
            found = {shards: np.concatenate([index.search(asked[i:i + 250], K).rows for i in range(0, len(asked), 250)])
                     for shards, index in indexes.items()}
            one, many = _times(indexes, asked, 1, 300), _times(indexes, asked, BATCH, 40)
            for shards in counts:
                p50, p99 = np.quantile(one[shards], [0.5, 0.99]) * 1e3
                figures.append({
                    "kind": named, "shards": shards,
                    "recall@100": float(np.mean([np.isin(t, f).mean() for t, f in zip(truth, found[shards])])),
                    "ms_p50": p50, "ms_p99": p99,
                    "to_one": float(np.median(np.divide(one[shards], one[counts[0]]))),
                    "ms_per_query_in_32": common.median(many[shards]) / BATCH * 1e3,
                    **rows_of[shards], "vectors": f"{rows} x {dim}",
                })
    return figures


def across(rows, dim, target, kinds, counts):
    """The table of `--processes`."""
    vectors, queries = mixture(rows, dim, 2000)
    tuning, asked, figures = queries[:1000], queries[1000:], []
    for named in kinds:
        for shards in counts:
            kind = ShardedKind(kind_of(named), shards)
            index, _ = build(IndexConfig(kind=kind, k=K, target_recall=target), vectors, tuning)
            with tempfile.TemporaryDirectory() as root, contextlib.ExitStack() as started:
                folder = _export(kind, index, Path(root))
                del index
                addresses = [started.enter_context(_served(root, f"{i}/{shards}")) for i in range(1, shards + 1)]
                indexes = {"threads": kind.load(folder), "processes": ShardsKind(tuple(addresses)).load(folder)}
                found = [index.search(asked[:50], K).rows for index in indexes.values()]
                np.testing.assert_array_equal(*found)
                seconds = _times(indexes, asked, 1, 300)
            p50, p99 = np.quantile(seconds["processes"], [0.5, 0.99]) * 1e3
            figures.append({
                "kind": named, "shards": shards, "ms_p50": p50, "ms_p99": p99,
                "to_one": p50 / next((row["ms_p50"] for row in figures if row["kind"] == named), p50),
                "ms_p50_threads": common.median(seconds["threads"]) * 1e3,
                "to_threads": float(np.median(np.divide(seconds["processes"], seconds["threads"]))),
                "vectors": f"{rows} x {dim}",
            })
            print(figures[-1], flush=True)
    return figures


def _export(kind, index, root):
    """The folder of an index in an export that has nothing else: shards and front need no more."""
    folder = root / "1" / "index"
    folder.mkdir(parents=True)
    kind.save(index, folder)
    manifest.write(root / "1", {
        "model": "bench", "version": 1, "custom_op_library": kind.kind.op_library, "embedding_space": "bench",
        "index_kind": to_dict(kind), "catalogue": {"items": index.size, "dim": index.dim},
    })
    return folder


@contextlib.contextmanager
def _served(root, shard):
    """The gRPC address of a process that serves a shard."""
    command = [sys.executable, "-m", "tfrs_twotower", "serve", str(root), "--shard", shard]
    process = subprocess.Popen([*command, "--rest-port", "0", "--grpc-port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        yield re.search(r"gRPC (\S+:\d+)", process.stdout.readline())[1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _times(indexes, queries, batch, rounds):
    """Seconds of single calls of each index, in turn."""
    turn = {shards: 0 for shards in indexes}

    def call(shards):
        start = turn[shards] = (turn[shards] + batch) % (len(queries) - batch)
        indexes[shards].search(queries[start:start + batch], K)

    return common.interleaved({shards: lambda s=shards: call(s) for shards in indexes}, rounds, warmup=10)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="candidates (default: %(default)s)")
    parser.add_argument("--dim", type=int, default=64, help="of a vector (default: %(default)s)")
    parser.add_argument("--target", type=float, default=0.95, help="recall@100 (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", default=["scann"],
                        help="of the parts (default: %(default)s); they name the record")
    parser.add_argument("--shards", nargs="+", type=int, default=[1, 2, 4],
                        help="counts; to_one divides by the first (default: %(default)s)")
    parser.add_argument("--held", nargs=4, help=argparse.SUPPRESS)  # what a process of its own measures
    parser.add_argument("--processes", action="store_true", help="a process for each part, and a front")
    arguments = parser.parse_args()
    if arguments.held:
        of, count, where, which = arguments.held
        print(held(ShardedKind(kind_of(of), int(count)), Path(where), int(which)))
    else:
        name = "index_shards_processes" if arguments.processes else "index_shards"
        record = "_".join([name, *arguments.kinds]).replace(":", "_")
        measure = across if arguments.processes else main
        common.record(record, measure(arguments.rows, arguments.dim, arguments.target, arguments.kinds,
                                      arguments.shards))
