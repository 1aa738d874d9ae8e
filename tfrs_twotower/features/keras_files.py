"""Keras layers as `.keras` files. The files hold no code; classes are found by their import path."""

import dataclasses
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tensorflow as tf

from tfrs_twotower.errors import ConfigError
from tfrs_twotower.features.preprocessed import Preprocessed

if TYPE_CHECKING:
    from tfrs_twotower.features.infer import Derived
    from tfrs_twotower.features.kinds import Feature
    from tfrs_twotower.features.schema import Schema

_Sides = TypeVar("_Sides", "Schema", "Derived")


@tf.keras.saving.register_keras_serializable("tfrs_twotower")
class Kept(tf.keras.Model):
    """A layer as a model, since only models have files."""

    def __init__(self, layer: tf.keras.layers.Layer, **options: Any) -> None:
        super().__init__(**options)
        self.layer = layer

    def call(self, inputs: tf.Tensor | dict[str, tf.Tensor]) -> tf.Tensor:
        """The layer's output."""
        return self.layer(inputs)

    def get_config(self) -> dict[str, Any]:
        return {"layer": tf.keras.saving.serialize_keras_object(self.layer)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> "Kept":
        return cls(tf.keras.saving.deserialize_keras_object(config["layer"], custom_objects))


def write_layer(layer: tf.keras.layers.Layer, path: str | Path) -> None:
    """Writes a layer with its vocabularies and weights.

    Raises:
      ConfigError: Keras cannot write it.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You are saving a model that has not yet been built")  # it has no weights
            Kept(layer).save(path, save_format="keras")
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ConfigError(f"The layer {layer.name!r} cannot be written as a .keras file ({_first(error)}). Give its "
                          "class a `get_config` that returns the arguments of its constructor.") from error


def read_layer(path: str | Path) -> tf.keras.layers.Layer:
    """The layer of a file, with its vocabularies and weights.

    Raises:
      ConfigError: the file is missing or broken, or a class of it cannot be imported.
    """
    if not Path(path).is_file():
        raise ConfigError(f"There is no file {path} of a layer. Name another one, or copy it back.")
    try:
        kept = tf.keras.models.load_model(path, compile=False)
    except (OSError, TypeError, ValueError, ImportError) as error:
        if "expected 0 variables" in str(error):
            raise ConfigError(f"The layer in {path} cannot be read ({_first(error)}). A class of one's own that adapts "
                              "or builds its layers does so in its constructor, or has `build`.") from error
        if "safe_mode" in str(error):
            rule = f"{path} holds a Lambda layer, whose code is not read from files. Write a Layer class in its place."
            raise ConfigError(rule) from error
        raise ConfigError(
            f"The layer in {path} cannot be read ({_first(error)}). A class of one's own is found by its module: "
            "name that by --import, in Python import it, or decorate the class with "
            "@tf.keras.saving.register_keras_serializable()."
        ) from error
    return kept.layer if isinstance(kept, Kept) else kept


def copy_of(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    """A copy of a layer with the same vocabularies and weights, so that each training starts from the given layer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "layer.keras"
        write_layer(layer, path)
        return read_layer(path)


def with_layers_in(folder: str | Path, features: _Sides, write: bool = True) -> _Sides:
    """A `Schema` or `Derived` whose layers are files of `folder`.

    Args:
      folder: made if a layer is written.
      features: has `query` and `candidate`, tuples of features.
      write: whether layers, and files of other folders, are written there; if not, they must be there already.

    Raises:
      ConfigError: a layer cannot be written, or its file is missing.
    """

    def kept(feature: "Feature", side: str) -> "Feature":
        if not isinstance(feature, Preprocessed):
            return feature
        path = Path(folder) / f"{side}_{feature.name}.keras"
        if write and feature.layer != str(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _keep(feature.layer, path)
        elif not path.exists():
            raise ConfigError(f"There is no file {path}, which holds the layer of `{feature.name}`. Copy it back.")
        return dataclasses.replace(feature, layer=str(path))

    # Any: what `replace` is given by name could be any field's value.
    sides: dict[str, Any] = {
        side: tuple(kept(feature, side) for feature in getattr(features, side)) for side in ("query", "candidate")
    }
    return dataclasses.replace(features, **sides)


def _keep(layer: "tf.keras.layers.Layer | str", path: Path) -> None:
    """Writes a layer, or copies its file; `path` is then whole, or missing."""
    aside = path.with_name(f".{os.getpid()}-{path.name}")
    if isinstance(layer, str):
        read_layer(layer)  # what cannot be read is said here
        shutil.copyfile(layer, aside)
    else:
        write_layer(layer, aside)
    os.replace(aside, path)


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
