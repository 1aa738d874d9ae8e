"""One Python recipe per system. `load(name)` builds it; `names()` lists what there is."""

import importlib
import json
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrs_twotower.configuration import from_dict
from tfrs_twotower.errors import ConfigError, invalid, nearest
from tfrs_twotower.modules import own_module

if TYPE_CHECKING:
    from tfrs_twotower.recipe import Recipe


def names() -> list[str]:
    """The names of all recipes, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> "Recipe":
    """Builds the recipe that `recipes/<name>.py` describes, that of a `.json` file, or that of a `.py` file.

    Raises:
      ConfigError: there is no such recipe; offers the nearest. Or the Python file has no function `recipe`.
    """
    if name.endswith(".json"):
        return _read(name)
    if name.endswith(".py"):
        module = own_module(name)
        if not hasattr(module, "recipe"):
            raise ConfigError(f"{name} has no function `recipe`. Give it one that returns a `Recipe`.")
        return _checked(module.recipe(), f"`recipe` of {name}")
    known = names()
    if name not in known:
        raise ConfigError(f"There is no recipe `{name}`." + nearest(name, known, most=len(known)))
    return importlib.import_module(f"{__name__}.{name}").recipe()


def _read(path: str) -> "Recipe":
    from tfrs_twotower.pipeline import runs
    from tfrs_twotower.recipe import Recipe  # with it, every configuration class is known

    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        recipe = from_dict(data["recipe"] if "recipe" in data else data)  # a run's config.json, or a recipe alone
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read as a recipe ({error}).") from error
    if not isinstance(recipe, Recipe):
        raise ConfigError(f"{path} holds no recipe. Name a file that `twotower tune` wrote, or a run's config.json.")
    folder = Path(path).parent
    return runs.with_layers(recipe, folder) if (folder / runs.LAYERS).is_dir() else recipe


def _checked(found: Any, where: str) -> "Recipe":
    from tfrs_twotower.recipe import Recipe

    if not isinstance(found, Recipe):
        raise ConfigError(invalid(where, "return a `Recipe`", found, "See docs/own_parts.md."))
    return found


def summary(name: str) -> str:
    """The first line of a recipe's docstring."""
    return importlib.import_module(f"{__name__}.{name}").__doc__.strip().splitlines()[0]
