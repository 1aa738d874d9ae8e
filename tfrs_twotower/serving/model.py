"""One loaded version: its signatures, its items, and what its manifest says."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.configuration import from_dict
from tfrs_twotower.errors import ConfigError, invalid, nearest
from tfrs_twotower.exporting.moving import Moving
from tfrs_twotower.features import Window
from tfrs_twotower.serving.catalogue import Catalogue
from tfrs_twotower.serving.current_items import CurrentItems
from tfrs_twotower.serving.errors import InvalidArgument, NotFound
from tfrs_twotower.serving.signature import Signature, Value

DEFAULT_SIGNATURE = c.SERVING_DEFAULT

_HISTORY = 50  # events of a history, if the manifest has no schema
# Inputs of `serving_default` besides features.
_OPTIONS = (c.K, c.EXCLUDE_IDS, c.ALLOW_IDS, c.POPULARITY_BETA, c.OBJECTIVES)


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A version that can be called.

    Attributes:
      identity: the checksum of the manifest. It identifies the weights.
      signature_defs: the SavedModel's own protos of `signatures`, for metadata.
      signatures: {name: `Signature`}: the signatures that requests may call.
      internal: {name: `Signature`}: the signatures that change state, for this process alone.
      moving: the `Moving` statistics of the items; None if there are none.
      catalogue: the items of the export; None if this package did not write it.
      asks_others: its index is on other machines. While one of them hangs, requests must not wait for each other.
    """

    version: int
    manifest: dict
    identity: str
    signature_defs: dict
    signatures: dict
    root: Any  # the loaded object: its variables, tables and searchers live as long as it does; None: no SavedModel
    catalogue: Catalogue | None = None
    internal: dict = dataclasses.field(default_factory=dict)
    moving: Moving | None = None
    asks_others: bool = False

    def __call__(self, name: str = "", /, **inputs: Any) -> dict[str, tf.Tensor]:
        """Runs a signature on values by name: tensors, arrays or lists. Inputs that are left out take their defaults.

        Raises:
          NotFound: there is no signature of this name; "" means `serving_default`.
          InvalidArgument: an input is unknown, has values of another type, or is missing and has no default.
        """
        signature, tensors = self.signature(name), {}
        for column, value in inputs.items():
            spec = signature.spec(column)
            try:
                tensors[spec.name] = tf.convert_to_tensor(value, spec.dtype)
            except (TypeError, ValueError) as error:
                rule = f"be {spec.dtype.name}, {spec.shape}"
                raise InvalidArgument(invalid(column, rule, value, str(error))) from error
        if missing := set(signature.required) - tensors.keys():
            raise InvalidArgument(f"Signature `{signature.name}` needs {sorted(missing)} too. Received: "
                                  f"{sorted(inputs)}.")
        return signature(tensors)

    def signature(self, name: str = "") -> Signature:
        """The signature of a name; "" means `serving_default`. Raises `NotFound`."""
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:
            raise NotFound(
                f"Signature `{name[:80]}` not found in version {self.version}." + nearest(name, self.signatures)
            )
        return self.signatures[name]

    @functools.cached_property
    def exported_items(self) -> CurrentItems:
        """The items of a version with a catalogue, without any change since the export."""
        return CurrentItems(self.catalogue)  # type: ignore[arg-type]  # there is a catalogue

    @functools.cached_property
    def query_inputs(self) -> tuple[str, ...]:
        """The names of a query's features; () if there is no `serving_default`."""
        asked = self.signatures.get(DEFAULT_SIGNATURE)
        return tuple(name for name in asked.inputs if name not in _OPTIONS) if asked else ()

    @functools.cached_property
    def history_length(self) -> int:
        """The number of events of a history that the model reads at most."""
        if "history_events" in self.manifest:
            return max(self.manifest["history_events"], 1)
        try:
            query = from_dict(self.manifest["schema"]).query
        except (KeyError, AttributeError, ConfigError):  # an export of another package or version
            return _HISTORY
        return max([feature.length for feature in query if c.HISTORY_ITEM_ID in feature.columns], default=1)

    @functools.cached_property
    def histories(self) -> dict[str, Window]:
        """{name of a history, which its inputs begin with: its `Window`}."""
        kept = self.manifest.get("histories")
        if kept is None:  # an export of an earlier version
            return {c.PAST: Window((), self.history_length)}
        return {name: Window(tuple(found["kinds"]), max(found["events"], 1)) for name, found in kept.items()}

    @functools.cached_property
    def past_items(self) -> tuple[str, ...]:
        """The inputs with the items of the histories."""
        return tuple(f"{name}_{c.ITEM_ID}" for name in self.histories)

    def is_query(self, signature: Signature) -> bool:
        """Does the signature read the features of a query?"""
        return bool(self.query_inputs) and set(self.query_inputs) <= set(signature.inputs)


Runner = Callable[[LoadedModel, Signature, Mapping[str, Value]], dict[str, tf.Tensor]]  # like `call`


def call(model: LoadedModel, signature: Signature, inputs: Mapping[str, Value]) -> dict[str, tf.Tensor]:
    """Runs a signature of a model in one step; `CachedTower.call` takes two."""
    return signature(inputs)
