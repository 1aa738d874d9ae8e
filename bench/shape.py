"""The shape of the package: files, functions, what is annotated, rooms, the files on two walks: `make shape`.

    python -m bench.shape                  of this checkout; ARGS="--files" of make is --files
    python -m bench.shape ../other         of another one, to compare before with after
    python -m bench.shape --files          names the files on the walks

A room is a folder of the package, or the package itself. A function is annotated if all its parameters but `self` and
`cls`, and what it returns, are. What a walk is says `bench/walks.py`, which takes some twenty seconds.
"""

import argparse
import ast
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from bench import common

PACKAGE = "tfrs_twotower"


def shape(root):
    """{what: value} of the package in a checkout."""
    files = {path: path.read_text(encoding="utf-8") for path in sorted((Path(root) / PACKAGE).rglob("*.py"))}
    lines = {path: text.count("\n") for path, text in files.items()}
    functions = [node for text in files.values() for node in ast.walk(ast.parse(text))
                 if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    lengths = [node.end_lineno - node.lineno + 1 for node in functions]
    longest = max(functions, key=lambda node: node.end_lineno - node.lineno)
    longest_file = max(lines, key=lines.get)
    return {
        "files": len(files), "lines": sum(lines.values()), "rooms": len({path.parent for path in files}),
        "median file": int(statistics.median(lines.values())),
        "longest file": f"{longest_file.relative_to(Path(root) / PACKAGE)}: {lines[longest_file]}",
        "functions": len(functions), "median function": int(statistics.median(lengths)),
        "longest function": f"{longest.name}: {max(lengths)}",
        "annotated": f"{sum(map(annotated, functions)) / len(functions):.1%}",
    }


def annotated(function):
    """Whether all parameters of an `ast` function, and what it returns, have annotations."""
    a = function.args
    given = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    return function.returns is not None and all(arg.annotation for arg in given if arg.arg not in ("self", "cls"))


def walks(root):
    """{walk: the package's files on it, in their order}, of the package in a checkout; see `bench/walks.py`."""
    script, paths = Path(__file__).with_name("walks.py"), [str(Path(root).resolve()), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "TF_CPP_MIN_LOG_LEVEL": "3"}
    found = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(f"The walks of {root} failed:\n{found.stderr}")
    return json.loads(found.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", default=Path(__file__).parents[1])
    parser.add_argument("--files", action="store_true", help="name the files on the walks")
    args = parser.parse_args()
    on_walks = walks(args.root)
    figures = {**shape(args.root), **{f"files, walk of {name}": len(files) for name, files in on_walks.items()}}
    print(common.table([{"": name, "value": str(value)} for name, value in figures.items()]))
    for name, files in on_walks.items() if args.files else ():
        print(f"\nThe walk of {name}:", *files, sep="\n  ")


if __name__ == "__main__":
    main()
