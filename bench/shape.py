"""The shape of the package: files, their lengths, functions, what is annotated, rooms: `make shape`.

    python -m bench.shape                  of this checkout
    python -m bench.shape ../other         of another one, to compare before with after

A room is a folder of the package, or the package itself. A function is annotated if all its parameters but `self` and
`cls`, and what it returns, are.
"""

import argparse
import ast
import statistics
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", default=Path(__file__).parents[1])
    print(common.table([{"": name, "value": str(value)} for name, value in shape(parser.parse_args().root).items()]))


if __name__ == "__main__":
    main()
