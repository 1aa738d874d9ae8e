"""One Python recipe per system. `load(name)` builds it; `names()` lists what there is."""

import importlib
import pkgutil

from tfrs_twotower.errors import ConfigError, nearest


def names():
    """The names of all recipes, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name):
    """Builds the recipe that `recipes/<name>.py` describes.

    Raises:
      ConfigError: there is no such recipe; offers the nearest.
    """
    if name not in names():
        raise ConfigError(f"There is no recipe `{name}`." + nearest(name, names()))
    return importlib.import_module(f"{__name__}.{name}").recipe()


def summary(name):
    """The first line of a recipe's docstring."""
    return importlib.import_module(f"{__name__}.{name}").__doc__.strip().splitlines()[0]
