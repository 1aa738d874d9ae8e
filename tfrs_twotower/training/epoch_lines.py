"""`history.jsonl` beside the checkpoints: a line of figures for each epoch, with its number and its last step."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrs_twotower.durable import written_aside

FILE = "history.jsonl"

_log = logging.getLogger(__name__)


def add(path: str | Path, figures: Mapping[str, Any]) -> None:
    """Adds an epoch's line. figures: has "epoch" and "step"."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(figures) + "\n")


def read(path: str | Path) -> list[dict[str, Any]]:
    """The figures of each epoch; [] without a file. A line that cannot be read, as after a crash, is left out."""
    path, found = Path(path), []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            figures = json.loads(line)
            int(figures["epoch"]), int(figures["step"])
            found.append(figures)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            _log.warning("%s: line %d cannot be read (%s), and is left out.", path, number, error)
    return found


def forget_later(path: str | Path, step: int) -> None:
    """Drops the lines of epochs that end after `step`, which will be run again."""
    kept = [figures for figures in read(path) if figures["step"] <= step]
    if Path(path).exists():
        with written_aside(path) as file:
            file.write("".join(json.dumps(figures) + "\n" for figures in kept).encode())


def epochs_of(folder: str | Path) -> list[dict[str, Any]]:
    """The figures of each epoch of the training that has its checkpoints in a folder; [] without validation."""
    return read(Path(folder) / FILE)
