"""Two-tower retrieval on TensorFlow Recommenders: from an interaction log to a served SavedModel.

    import tfrs_twotower as tt

Import this package before TensorFlow: TensorFlow Recommenders needs legacy Keras (tf-keras), and
`TF_USE_LEGACY_KERAS` only counts before TensorFlow loads. The public names are listed in `__init__.pyi`; each is
imported when it is first used.
"""

import ast
import importlib
from pathlib import Path
from typing import Any

from tfrs_twotower import _legacy_keras

_legacy_keras.require()

__version__ = "0.3.0"

_STUB = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
_MODULES = {alias.name: node.module for node in _STUB.body if isinstance(node, ast.ImportFrom) for alias in node.names}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _MODULES[name] == __name__:
        return importlib.import_module(f"{__name__}.{name}")
    value = globals()[name] = getattr(importlib.import_module(str(_MODULES[name])), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
