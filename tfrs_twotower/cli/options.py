"""What several verbs share: where runs live, and how a help text looks."""

import argparse
from pathlib import Path

from tfrs_twotower.errors import ConfigError

RUNS = Path("runs")


def verb(subparsers, name, run, summary, description):
    """Adds one verb's parser, whose `run` is called with the parsed arguments."""
    parser = subparsers.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)
    return parser


def add_run(parser):
    """Adds the positional argument RUN."""
    parser.add_argument("run_directory", metavar="RUN", help="a run's folder, such as runs/movielens/latest")


def run_directory(text):
    """The folder of a run.

    Raises:
      ConfigError: it holds no `config.json`; lists the runs that there are.
    """
    path = Path(text)
    if not (path / "config.json").is_file():
        known = ", ".join(sorted(str(p.parent) for p in RUNS.glob("*/latest/config.json"))) or "none yet"
        raise ConfigError(
            f"`RUN` must be a folder that `twotower train` wrote. Received: {text}. Runs here: {known}."
        )
    return path.resolve()


def positive(text):
    """An argument that is a whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return value


def print_frame(frame, as_json):
    """Prints a frame as an aligned table or as JSON records."""
    print(frame.to_json(orient="records", indent=2) if as_json else frame.to_string(index=False))
