"""What every benchmark shares: paired timing, a table on the screen and a record in bench/results/."""

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import statistics
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("tensorflow", "tf-keras", "tensorflow-recommenders", "scann", "numpy")


def interleaved(callables, rounds, warmup=1):
    """Times several callables in turn (A B A B …), so that a slow spell of the machine hits all of them.

    Args:
      callables: {name: function of no arguments}. A function must wait for its own result.
      rounds: timed calls of each, at least 1.
      warmup: untimed calls of each before the first timed one (tracing, caches).

    Returns:
      {name: [seconds of each round]}; round i of every name ran next to each other, so ratios pair up.
    """
    for function in callables.values():
        for _ in range(warmup):
            function()
    seconds = {name: [] for name in callables}
    for _ in range(rounds):
        for name, function in callables.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def median(values):
    """The middle value: one slow round does not move it."""
    return statistics.median(values)


def record(name, figures):
    """Writes bench/results/<name>.json and prints the figures as a table.

    Args:
      name: the benchmark's name; a new run replaces the old record.
      figures: a list of flat dicts, one a row of the table. Put the unit in the key: `seconds`, `ms_p50`.

    Returns:
      The path of the record.
    """
    result = {
        "name": name,
        "command": _command(),
        "machine": _machine(),
        "date": datetime.date.today().isoformat(),
        "versions": _versions(),
        "figures": figures,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=2, default=_plain, allow_nan=False) + "\n")
    print(f"{name}\n{table(figures)}\nwritten: bench/results/{name}.json", flush=True)
    return path


def recorded(name):
    """The figures that `record` wrote last; [] where there are none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["figures"] if path.exists() else []


def table(figures):
    """The rows as text with aligned columns: numbers to the right, the rest to the left."""
    keys = columns(figures)
    rows = [[cell(row.get(key)) for key in keys] for row in figures]
    widths = [max(len(line[i]) for line in [keys, *rows]) for i in range(len(keys))]
    numeric = [all(_is_number(row.get(key)) for row in figures) for key in keys]
    lines = []
    for line in [keys, ["-" * width for width in widths], *rows]:
        cells = (t.rjust(w) if n else t.ljust(w) for t, w, n in zip(line, widths, numeric))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def columns(figures):
    """The keys of all rows, in the order of their first appearance."""
    return list(dict.fromkeys(key for row in figures for key in row))


def cell(value):
    """One value as text: from 1,000 on as a whole number, below to four significant digits."""
    if value is None:
        return "–"
    if not _is_number(value):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _is_number(value):
    return value is None or (hasattr(value, "__float__") and not isinstance(value, bool))


def _plain(value):
    """NumPy scalars and arrays, TensorFlow scalars: as JSON numbers."""
    if hasattr(value, "numpy"):
        value = value.numpy()
    return value.tolist()


def _command():
    """The command as one types it: `python -m bench.bench_index --rows 1000`."""
    module = sys.modules["__main__"].__spec__
    start = ["python", "-m", module.name] if module else ["python", os.path.relpath(sys.argv[0])]
    return shlex.join(start + sys.argv[1:])


def _machine():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "system": platform.system(),
    }


def _cpu():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions():
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions
