"""Python modules of a user's own: recipes, and the classes that recipes name."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

from tfrs_twotower.errors import ConfigError, invalid


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
