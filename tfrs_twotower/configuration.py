"""Frozen dataclasses as configuration: read from JSON, written to JSON, overridden by dotted name.

A configuration class is a frozen dataclass decorated with `@config`. Its JSON form carries the
class name under "type", so that a tuple of different features, or one of several encoders, is read
back as the same classes.
"""

import dataclasses
import functools
import importlib
import json
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from typing_extensions import dataclass_transform

from tfrs_twotower.errors import ConfigError, invalid, nearest
from tfrs_twotower.ranges import RULES, choices, fits, ruled, way_out

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_T = TypeVar("_T")
_CLASSES: dict[str, type] = {}
_PACKAGE = __name__.partition(".")[0]


@dataclass_transform(frozen_default=True)
def config(cls: type[_T]) -> type[_T]:
    """Class decorator: a frozen dataclass that can be written to JSON and read back.

    A class of this package is written by its name, any other by its import path, `module.Class`. The ranges and the
    choices of its annotations (see `ranges`) are checked when an object is made, before `__post_init__`.
    """
    cls.__post_init__ = _checking(getattr(cls, "__post_init__", None))  # type: ignore[attr-defined]
    cls = dataclasses.dataclass(frozen=True)(cls)
    if _CLASSES.get(_type(cls), cls).__module__ != cls.__module__:
        raise ConfigError(f"Two configuration classes are called `{cls.__name__}`. Rename one.")
    _CLASSES[_type(cls)] = cls
    return cls


def _checking(inner: Callable[..., None] | None) -> Callable[..., None]:
    """A `__post_init__` that checks the annotations first, then calls `inner`."""
    inner = getattr(inner, "__wrapped__", inner)  # an inherited one checks already

    def __post_init__(self: "DataclassInstance", *values: Any) -> None:
        check_ranges(self)
        if inner is not None:
            inner(self, *values)

    __post_init__.__wrapped__ = inner  # type: ignore[attr-defined]
    return __post_init__


def check_ranges(settings: "DataclassInstance") -> None:
    """Raises `ConfigError` unless each field of a dataclass keeps the ranges and choices of its annotation."""
    fields = {field.name: field for field in dataclasses.fields(settings)}
    for name, hint in ruled(type(settings)):
        if name in fields and not fits(value := getattr(settings, name), hint):
            ending = way_out(hint) or nearest(value, choices(hint), most=0).strip() or _usual(fields[name])
            raise ConfigError(invalid(f"{type(settings).__name__}.{name}", f"be {_describe(hint)}", value, ending))


def _usual(field: dataclasses.Field) -> str:
    """The way out of a value that does not fit a field."""
    return "Use another value." if field.default is dataclasses.MISSING else f"The default is {field.default!r}."


def _type(cls: type) -> str:
    own = cls.__module__.partition(".")[0] == _PACKAGE
    return cls.__name__ if own else f"{cls.__module__}.{cls.__qualname__}"


class Layered:
    """Base of the configurations of Keras layers.

    Attributes:
      layer_class: the layer, made as `layer(configuration, seed, ...)`; see `layer_of`.
    """

    layer_class: ClassVar[Any] = None

    def build(self, *args: Any, **options: Any) -> Any:
        """The layer of this configuration, made with further arguments. Raises `ConfigError` if it has none."""
        if self.layer_class is None:
            name = type(self).__name__
            raise ConfigError(f"`{name}` has no layer. Decorate its Keras layer with @layer_of({name}).")
        return type(self).layer_class(self, *args, **options)


def layer_of(*configs: type[Layered]) -> Callable[[_T], _T]:
    """Class decorator of a Keras layer: connects it with its configuration classes."""

    def decorate(layer: _T) -> _T:
        for cls in configs:
            cls.layer_class = layer
        return layer

    return decorate


def to_dict(value: object) -> Any:
    """A JSON-ready form of a configuration object: dataclasses carry their class name as "type"."""
    if dataclasses.is_dataclass(value):
        fields = {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"type": _type(type(value)), **fields}
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


def from_dict(data: Any, hint: Any = typing.Any) -> Any:
    """The inverse of `to_dict`; `hint` is the annotation of the field that gets the value.

    Raises:
      ConfigError: a class or a field is unknown, a field that has no default is missing, a value has another
        type than its field, or the class refuses it.
    """
    if isinstance(data, list):
        return tuple(from_dict(v, hint) for v in data)
    if not isinstance(data, dict):
        return data
    if "type" not in data:
        return {k: from_dict(v) for k, v in data.items()}
    name = str(data["type"])
    cls, values = _class(name, hint), {}
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key, value in data.items():
        if key == "type":
            continue
        if key not in fields:
            raise ConfigError(f"`{name}` has no field `{key}`." + nearest(key, fields))
        values[key] = from_dict(value, _hint(cls, key))
        _check_type(values[key], cls, key, f"{name}.{key}", _usual(fields[key]))
    for key, field in fields.items():
        if key not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"`{name}` needs the field `{key}`, which has no default. Give it.")
    return cls(**values)


def _class(name: str, hint: Any) -> type:
    """The configuration class of a "type", imported if it lies outside the package."""
    if name not in _CLASSES and "." in name:
        try:
            importlib.import_module(name.rpartition(".")[0])
        except ImportError as error:
            raise ConfigError(
                f"The configuration class `{name}` cannot be imported ({error}). Name its module or file: "
                "`--import FILE.py`; in Python, import it first."
            ) from error
    if name not in _CLASSES:
        fitting = _classes(hint)
        raise ConfigError(
            f"Unknown configuration class `{name}`." + nearest(name, fitting or _CLASSES, most=len(fitting))
        )
    return _CLASSES[name]


def check_types(settings: "DataclassInstance") -> None:
    """Raises `ConfigError` unless each field of a dataclass fits its annotation."""
    for field in dataclasses.fields(settings):
        where = f"{type(settings).__name__}.{field.name}"
        _check_type(getattr(settings, field.name), type(settings), field.name, where, _usual(field))


def override(value: _T, assignments: Iterable[str]) -> _T:
    """Returns a copy of a configuration with `["training.epochs=3", ...]` applied.

    Values are read as JSON where they parse as JSON (3, 0.5, true, null, [1, 2], {"type": ...}),
    else as text. A value must fit the field's annotation; an unknown name is an error that offers
    the nearest. In a tuple a number names the element: `schema.query.1.length=20`. Every object is made once, with
    all of its assignments, so that settings which must agree may come in any order. If a field is assigned twice,
    the later assignment counts.
    """
    return _assigned(value, [_parsed(assignment) for assignment in assignments])


def _parsed(assignment: str) -> tuple[list[str], Any, str]:
    """(names, new value as JSON has it, dotted path) of one assignment."""
    path, separator, text = assignment.partition("=")
    if not separator:
        raise ConfigError(
            f"`--set` must look like name.name=value. Received: {assignment!r}. "
            "Write for example training.epochs=3."
        )
    try:
        new = json.loads(text)
    except json.JSONDecodeError:
        new = text
    return path.split("."), new, path


def _assigned(value: Any, assignments: Sequence[tuple[list[str], Any, str]], hint: Any = typing.Any) -> Any:
    if not assignments:
        return value
    names, _, path = assignments[0]
    if isinstance(value, tuple):
        return _assigned_places(value, assignments, hint)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise ConfigError(f"`{path}` goes deeper than the configuration, at `{names[0]}`.")
    fields = [f.name for f in dataclasses.fields(value)]
    changed, deeper = {}, {}
    for (name, *rest), new, path in assignments:
        if name not in fields:
            raise ConfigError(
                f"`{path}`: `{type(value).__name__}` has no field `{name}`." + nearest(name, fields)
            )
        if rest:
            deeper.setdefault(name, []).append((rest, new, path))
        else:
            new = from_dict(new, _hint(type(value), name))
            if isinstance(new, int) and not isinstance(new, bool) and _hint(type(value), name) is float:
                new = float(new)
            if not fits(new, _hint(type(value), name)):
                usual = json.dumps(to_dict(getattr(value, name)))
                _check_type(new, type(value), name, path, f"It is {usual} by default.")
            changed[name] = new
            deeper.pop(name, None)
    for name, further in deeper.items():
        changed[name] = _assigned(changed.get(name, getattr(value, name)), further, _hint(type(value), name))
        _check_type(changed[name], type(value), name, further[-1][2], "Use another value.")
    return dataclasses.replace(value, **changed)


def _assigned_places(
    values: tuple[Any, ...], assignments: Sequence[tuple[list[str], Any, str]], hint: Any
) -> tuple[Any, ...]:
    """A tuple with assignments to its elements, which are numbered from 0."""
    changed, deeper = dict(enumerate(values)), {}
    for (name, *rest), new, path in assignments:
        place = int(name) if name.isdecimal() else -1
        if place not in changed:
            raise ConfigError(f"`{path}`: there are elements 0 to {len(values) - 1}, and no `{name}`.")
        if rest:
            deeper.setdefault(place, []).append((rest, new, path))
        else:
            changed[place] = from_dict(new, hint)
            deeper.pop(place, None)
    return tuple(_assigned(value, deeper.get(place, [])) for place, value in changed.items())


def _classes(hint: Any) -> list[str]:
    """Names of the configuration classes that an annotation allows."""
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        return [name for name, cls in _CLASSES.items() if issubclass(cls, hint)] if hint is not object else []
    return [name for inner in typing.get_args(hint) for name in _classes(inner)]


_hints = functools.cache(typing.get_type_hints)


def _hint(cls: type, name: str) -> Any:
    return _hints(cls)[name]


def _check_type(value: object, cls: type, name: str, where: str, way_out: str) -> None:
    hint = _hint(cls, name)
    if not fits(value, hint):
        raise ConfigError(invalid(where, f"be {_describe(hint)}", value, way_out))


def _describe(hint: Any) -> str:
    """An annotation in words: `int`, `a whole number of at least 1`, `"a" or "b"`, `Temporal or Newest`."""
    if typing.get_origin(hint) is typing.Annotated:
        return _describe_ruled(*typing.get_args(hint))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(map(_describe, typing.get_args(hint)))
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    if hint is type(None):
        return "null"
    if hint is float:
        return "a finite number"
    if typing.get_origin(hint) is tuple:
        inner = _describe_elements(hint)
        return f"a list, each {inner}" if inner.startswith("a ") else f"a list of {inner}"
    if isinstance(hint, type) and hint not in _CLASSES.values() and (classes := _classes(hint)):
        return " or ".join(classes)  # of a base class
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")


def _describe_ruled(hint: Any, *beside: Any) -> str:
    rules = " and ".join(str(rule) for rule in beside if isinstance(rule, RULES))
    if typing.get_origin(hint) is tuple and rules:
        return f"a list of {rules}, each {_describe_elements(hint)}"
    described = "a whole number" if hint is int else _describe(hint)
    return f"{described} of {rules}" if rules.startswith("at") else f"{described} {rules}".strip()


def _describe_elements(hint: Any) -> str:
    return " or ".join(_describe(h) for h in typing.get_args(hint) if h is not Ellipsis)
