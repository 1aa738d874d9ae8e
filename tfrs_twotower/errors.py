"""Typed errors. Each message names the argument, the rule, the value received and the way out."""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

_LONGEST = 500  # characters of a value that a message quotes


class TwoTowerError(Exception):
    """Base of all errors that this package raises on purpose."""

    _keras_call_info_injected = True  # a layer's call would put its arguments, all tensors, around the one line


class DataError(TwoTowerError, ValueError):
    """The interaction log, a user table or an item table breaks its contract."""


class NoEvents(DataError):
    """A source has no events, or none that can be used."""


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
    return f"`{argument}` must {rule}. Received: {argument}={brief(received)}. {way_out}"


def brief(value: object, most: int = _LONGEST) -> str:
    """The `repr` of a value, or its first `most` characters and "…": of lists and objects only so much is formatted."""
    text = ""
    for piece in _pieces(value, most):
        text += piece
        if len(text) > most:
            return f"{text[:most]}…"
    return text


def _pieces(value: object, most: int) -> Iterator[str]:
    """What stands one after the other in a value's `repr`."""
    if type(value) in (str, bytes):
        yield repr(value[: most + 1])  # type: ignore[index]
    elif type(value) is list:
        for place, part in enumerate(value):
            yield ", " if place else "["
            yield from _pieces(part, most)
        yield "]" if value else "[]"
    elif type(value) is dict:
        for place, (key, part) in enumerate(value.items()):
            yield ", " if place else "{"
            yield from _pieces(key, most)
            yield ": "
            yield from _pieces(part, most)
        yield "}" if value else "{}"
    else:
        yield repr(value)


def nearest(name: object, known: Iterable[Any], most: int = 10) -> str:
    """Returns " Did you mean `x`?" for the nearest known name, or lists the first `most` known names."""
    known = [str(k) for k in known]
    close = difflib.get_close_matches(str(name)[:_LONGEST], known, n=1, cutoff=0.51)
    if close:
        return f" Did you mean `{close[0]}`?"
    shown = [f"`{k}`" for k in known[:most]] + ["…"] * (len(known) > most)
    return f" Known: {', '.join(shown)}." if known and most else ""
