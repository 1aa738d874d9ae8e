"""Frozen dataclasses as configuration: read from JSON, written to JSON, overridden by dotted name.

A configuration class is a frozen dataclass decorated with `@config`. Its JSON form carries the
class name under "type", so a tuple of different features or one encoder of several reads back as
what it was.
"""

import dataclasses
import json
import types
import typing

from typing_extensions import dataclass_transform

from tfrs_twotower.errors import ConfigError, nearest

_CLASSES = {}


@dataclass_transform(frozen_default=True)
def config(cls):
    """Class decorator: a frozen dataclass that can be written to JSON and read back."""
    cls = dataclasses.dataclass(frozen=True)(cls)
    if cls.__name__ in _CLASSES and _CLASSES[cls.__name__].__module__ != cls.__module__:
        raise ConfigError(f"Two configuration classes are called `{cls.__name__}`. Rename one.")
    _CLASSES[cls.__name__] = cls
    return cls


def to_dict(value):
    """A JSON-ready form of a configuration object: dataclasses carry their class name as "type"."""
    if dataclasses.is_dataclass(value):
        fields = {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, (tuple, list)):
        return [to_dict(v) for v in value]
    if isinstance(value, dict):
        return {k: to_dict(v) for k, v in value.items()}
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise ConfigError(
        f"A configuration value must be a dataclass, a tuple, a dict, text, a number, true, false or none. "
        f"Received: {value!r}."
    )


def from_dict(data):
    """The inverse of `to_dict`. Raises `ConfigError` on an unknown class or field."""
    if isinstance(data, list):
        return tuple(from_dict(v) for v in data)
    if not isinstance(data, dict):
        return data
    if "type" not in data:
        return {k: from_dict(v) for k, v in data.items()}
    name = data["type"]
    if name not in _CLASSES:
        raise ConfigError(f"Unknown configuration class `{name}`." + nearest(name, _CLASSES))
    cls = _CLASSES[name]
    values = {k: from_dict(v) for k, v in data.items() if k != "type"}
    known = [f.name for f in dataclasses.fields(cls)]
    for key in values:
        if key not in known:
            raise ConfigError(f"`{name}` has no field `{key}`." + nearest(key, known))
    return cls(**values)


def override(value, assignments):
    """Returns a copy of a configuration with `["training.epochs=3", ...]` applied.

    Values are read as JSON where they parse as JSON (3, 0.5, true, null, [1, 2], {"type": ...}),
    else as text. A number must fit the field's annotation; an unknown name is an error that offers
    the nearest.
    """
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(
                f"`--set` must look like name.name=value. Received: {assignment!r}. "
                "Write for example training.epochs=3."
            )
        try:
            new = from_dict(json.loads(text))
        except json.JSONDecodeError:
            new = text
        value = _replace(value, path.split("."), new, path)
    return value


def _replace(value, names, new, path):
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise ConfigError(f"`{path}` goes deeper than the configuration does, at `{names[0]}`.")
    fields = {f.name: f for f in dataclasses.fields(value)}
    name = names[0]
    if name not in fields:
        raise ConfigError(f"`{path}`: `{type(value).__name__}` has no field `{name}`." + nearest(name, fields))
    if len(names) > 1:
        new = _replace(getattr(value, name), names[1:], new, path)
    else:
        hint = typing.get_type_hints(type(value))[name]
        if isinstance(new, int) and not isinstance(new, bool) and hint is float:
            new = float(new)
        if not _fits(new, hint):
            raise ConfigError(
                f"`{path}` must be {_describe(hint)}. Received: {path}={new!r}. "
                f"It is {getattr(value, name)!r} by default."
            )
    return dataclasses.replace(value, **{name: new})


def _describe(hint):
    return getattr(hint, "__name__", None) if isinstance(hint, type) else str(hint).replace("typing.", "")


def _fits(value, hint):
    origin = typing.get_origin(hint)
    if hint is typing.Any:
        return True
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, h) for h in typing.get_args(hint))
    if hint is None or hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is tuple:
        args = typing.get_args(hint)
        if not isinstance(value, tuple):
            return False
        if len(args) == 2 and args[1] is Ellipsis:
            return all(_fits(v, args[0]) for v in value)
        return len(value) == len(args) and all(map(_fits, value, args))
    if origin is not None:
        return isinstance(value, origin)
    return isinstance(value, hint) if isinstance(hint, type) else True
