"""Benchmarks: `python -m bench.bench_<name>` from the root of the checkout. Figures go to bench/results/."""
