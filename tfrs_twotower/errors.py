"""Typed errors. Each message names the argument, the rule, the value received and the way out."""

import difflib
from collections.abc import Iterable
from typing import Any

_LONGEST = 500  # characters of a value that a message quotes


class TwoTowerError(Exception):
    """Base of all errors that this package raises on purpose."""

    _keras_call_info_injected = True  # a layer's call would put its arguments, all tensors, around the one line


class DataError(TwoTowerError, ValueError):
    """The interaction log, a user table or an item table breaks its contract."""


class NothingNew(DataError):
    """There is nothing to update from: no new events, or only events that were learned before."""


class ConfigError(TwoTowerError, ValueError):
    """A recipe, a schema or an override is wrong."""


class TrainingError(TwoTowerError, RuntimeError):
    """Training stopped: loss or weights are not finite, or a checkpoint does not fit."""


class EvaluationError(TwoTowerError, ValueError):
    """Scores cannot be ranked: NaN, infinite values, or shapes that do not agree."""


class IndexingError(TwoTowerError, ValueError):
    """An index cannot be built, or cannot be searched with these arguments."""


class ExportError(TwoTowerError, RuntimeError):
    """An export was refused: recall below target, parity broken, or a file that fails its checksum."""


class MissingExtraError(TwoTowerError, ImportError):
    """An optional dependency is not installed."""


def invalid(argument: str, rule: str, received: object, way_out: str) -> str:
    """The sentence of an error: "`k` must be at most 5. Received: k=9. Lower k." A long value is cut."""
    shown = repr(received)
    shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
    return f"`{argument}` must {rule}. Received: {argument}={shown}. {way_out}"


def nearest(name: object, known: Iterable[Any], most: int = 10) -> str:
    """Returns " Did you mean `x`?" for the nearest known name, or lists the first `most` known names."""
    known = [str(k) for k in known]
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    if close:
        return f" Did you mean `{close[0]}`?"
    shown = [f"`{k}`" for k in known[:most]] + ["…"] * (len(known) > most)
    return f" Known: {', '.join(shown)}." if known and most else ""
