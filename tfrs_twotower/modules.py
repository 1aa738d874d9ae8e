"""Python modules of a user's own: recipes, and the classes that recipes name."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from tfrs_twotower.errors import ConfigError, TwoTowerError, invalid

_T = TypeVar("_T")


def subclasses(base: type[_T]) -> Iterator[type[_T]]:
    """All classes that derive from `base`, also by way of another one."""
    for cls in base.__subclasses__():
        yield cls
        yield from subclasses(cls)


def own_class(path: str, base: type[_T], error: type[TwoTowerError], what: str, hint: str = "") -> type[_T]:
    """The class at an import path, `module.Class`; `what` names the kind of class in messages.

    Raises:
      error: it cannot be imported, or does not derive from `base`. `hint` ends the first message.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as reason:  # the last of a name such as ".x"
        way_out = f"Name its module or file: `--import FILE.py`; in Python, import it first.{hint}"
        raise error(f"{what} `{path}` cannot be imported ({reason}). {way_out}") from reason
    if not (isinstance(found, type) and issubclass(found, base)):
        raise error(invalid(path, f"be a subclass of `{base.__name__}`", found, "Derive it from that."))
    return found


def own_module(name: str) -> ModuleType:
    """Imports a module by its name, or by its file's path, which ends in `.py`.

    The file's folder, or for a name the current one, is searched after all others: so the module may import its
    neighbours, and none of them hides an installed one.

    Raises:
      ConfigError: there is no such file or module, or another module has its name.
    """
    path = Path(name) if name.endswith(".py") else None
    if path and not path.is_file():
        raise ConfigError(invalid("module", "be a Python file or a module's name", name, "There is no such file."))
    if path and not path.stem.isidentifier():
        raise ConfigError(invalid("module", "be a file that Python can import", name, "Rename it: letters, digits, _."))
    folder = str(path.resolve().parent if path else Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(path.stem if path else name)
    except ImportError as error:
        raise ConfigError(f"The module {name} cannot be imported ({error}). Install what it lacks, or name a file "
                          "that ends in .py.") from error
    if path and Path(module.__file__ or "").resolve() != path.resolve():
        raise ConfigError(f"{name} has the name of another module, {module.__file__}. Rename the file.")
    return module
