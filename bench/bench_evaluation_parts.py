"""All queries of a log of 20 million events: an evaluation in one pass, in parts, and from parts that are there.

    python -m bench.bench_evaluation_parts [--queries 138493] [--candidates 26744] [--dim 64]

The sizes are those of MovieLens 20M: a query for each of its users. Vectors and targets (ten a query) are random. It is
one scorer in one view, with all metrics and slices, and intervals of 1,000 replicates; a run's evaluation has one for
the model and one for each baseline, in up to three views. Seconds are of a machine with other work; CPU seconds are the
process's. `GB` is the largest memory of the process so far.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.common import record
from tfrs_twotower.data.ragged import Ragged
from tfrs_twotower.evaluation import DotScorer, Parts, evaluate_each


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=138_493)
    parser.add_argument("--candidates", type=int, default=26_744)
    parser.add_argument("--dim", type=int, default=64)
    args = parser.parse_args()
    generator = np.random.default_rng(0)
    vectors = [generator.normal(size=(n, args.dim)).astype(np.float32) for n in (args.queries, args.candidates)]
    lengths = np.full(args.queries, 10)
    targets = Ragged.from_lengths(generator.integers(0, args.candidates, lengths.sum()).astype(np.int32), lengths)
    counts, cold = generator.integers(0, 500, args.candidates), np.arange(args.queries) % 10 == 0
    figures, metrics = [], []
    with tempfile.TemporaryDirectory() as folder:
        parts = Parts(Path(folder))
        for what, kept in (("one pass", None), ("in parts", parts), ("all parts there", parts)):
            begun, cpu = time.perf_counter(), time.process_time()
            asked = {"model": (DotScorer(*vectors), targets, None)}
            metrics.append(evaluate_each(asked, counts, cold_users=cold, parts=kept)["model"].to_dict())
            assert metrics[-1] == metrics[0]
            figures.append({
                "what": what, "queries": args.queries, "candidates": args.candidates, "dim": args.dim,
                "seconds": time.perf_counter() - begun, "CPU seconds": time.process_time() - cpu,
                "GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** 20,
                "files": len(list(Path(folder).iterdir())),
                "MB of files": sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6,
            })
    record("evaluation_parts", figures)


if __name__ == "__main__":
    main()
