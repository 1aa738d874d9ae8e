"""One loaded version: its signatures, their defaults, and functions to load and call it."""

import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower import extras
from tfrs_twotower.configuration import from_dict
from tfrs_twotower.errors import ConfigError, invalid, nearest
from tfrs_twotower.exporting import items, people, user_deltas
from tfrs_twotower.exporting.moving import Moving, read_moving
from tfrs_twotower.features import Window
from tfrs_twotower.index import REMOTE, IndexKind, op_libraries, searchers_end_with
from tfrs_twotower.serving import tensor_protos
from tfrs_twotower.serving.catalogue import Catalogue
from tfrs_twotower.serving.current_items import CurrentItems
from tfrs_twotower.serving.errors import InvalidArgument, NotFound, VersionRefused
from tfrs_twotower.serving.outside_index import opened, searched_outside
from tfrs_twotower.serving.signature_defs import TAG, meta_graph, signature_defs, state_changing

if TYPE_CHECKING:
    from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

    from tfrs_twotower.serving.current_items import ItemChanges

DEFAULT_SIGNATURE = c.SERVING_DEFAULT

_log = logging.getLogger(__name__)
_WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
_WARMUP_LIMIT = 1000  # as in TF Serving
_HISTORY = 50  # events of a history, if the manifest has no schema
# Inputs of `serving_default` besides features.
_OPTIONS = (c.K, c.EXCLUDE_IDS, c.ALLOW_IDS, c.POPULARITY_BETA, c.OBJECTIVES)


Value: TypeAlias = "np.ndarray | tf.Tensor"  # of an input; an array of text holds bytes


@dataclasses.dataclass(frozen=True)
class Signature:
    """A callable of the SavedModel. A feature has its column's name here, and a safe name in the SavedModel.

    Attributes:
      inputs: TensorSpec by name.
      outputs: dtype by name.
      defaults: the value of each input that may be left out, by name.
      function: a function that takes tensors by name and returns tensors by name.
      joined: names of inputs that may be left out because the server fills them in.
      columns: {safe name: column} of the inputs whose column has another name.
    """

    name: str
    inputs: dict
    outputs: dict
    defaults: dict
    function: Callable
    joined: frozenset = frozenset()
    columns: dict = dataclasses.field(default_factory=dict)

    @property
    def required(self) -> list[str]:
        return [name for name in self.inputs if name not in self.defaults and name not in self.joined]

    def spec(self, name: str) -> tf.TensorSpec:
        """The TensorSpec of an input, by its column's name or its safe name. Raises `InvalidArgument` for an unknown
        name."""
        name = self.columns.get(name, name)
        if name not in self.inputs:
            hint = nearest(name, self.inputs)
            if name == c.USER_ID and c.HISTORY_ITEM_ID in self.inputs:
                hint = " The model does not read it; a server with a store does: twotower serve --store …."
            raise InvalidArgument(f"Signature `{self.name}` has no input `{str(name)[:80]}`." + hint)
        return self.inputs[name]

    def tensors(self, inputs: Mapping[str, Value]) -> dict[str, tf.Tensor]:
        """The inputs by name, with arrays as tensors of their input's type."""
        return {name: _tensor(value, self.inputs[name].dtype) for name, value in inputs.items()}

    def __call__(self, inputs: Mapping[str, Value]) -> dict[str, tf.Tensor]:
        """Runs the signature on arrays or tensors by name. Inputs that are left out take their defaults."""
        # The Python loader ignores SignatureDef.defaults, which TF Serving applies.
        given = {**self.defaults, **self.tensors(inputs)}
        if self.columns:
            safe = {column: name for name, column in self.columns.items()}
            given = {safe.get(name, name): tensor for name, tensor in given.items()}
        return self.function(**given)


def _tensor(value: Value, dtype: tf.DType) -> tf.Tensor:
    if isinstance(value, tf.Tensor):
        return value
    if value.ndim == 0 and value.dtype.kind in "iuf":
        return _number(value.item(), dtype)
    return tf.constant(value, dtype)


@functools.lru_cache(1000)
def _number(value: int | float, dtype: tf.DType) -> tf.Tensor:
    """The tensor of a number, kept: nearly all requests have the same few `k`."""
    return tf.constant(value, dtype)


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


def load(
    directory: str, version: int, manifest: dict[str, Any], identity: str | None = "", index: IndexKind | None = None
) -> LoadedModel:
    """Loads a checked version directory: a `LoadedModel`.

    index: the `IndexKind` of an index outside the SavedModel; None: the export's own index.

    Raises:
      ConfigError: the kind of the export's index cannot be imported, or the export cannot be searched by an index
        outside the SavedModel.
      IndexingError: the index cannot be read or built.
      VersionRefused: the export needs an op library that this server does not know, or has no signatures.
      ExportError: the items of the export cannot be read.
      MissingExtraError: the export needs ScaNN's ops, and scann is not installed.
    """
    _load_ops(manifest.get("custom_op_library"))
    graph = meta_graph(directory)
    protos, changing = signature_defs(graph), state_changing(graph)
    del graph  # it is as large as the SavedModel's file
    loaded = searchers_end_with(tf.saved_model.load(directory, tags=[TAG]))
    signatures = {
        name: _signature(name, protos[name], function, manifest.get("columns") or {})
        for name, function in loaded.signatures.items()
    }
    internal = {name: signatures.pop(name) for name in changing & signatures.keys()}
    for name in internal.keys() - {c.UPDATE_USER_ROWS}:
        _log.warning("Signature `%s` changes variables, tables or files, so no request may call it", name)
    if not signatures:
        raise VersionRefused("the SavedModel has no signatures that change nothing.")
    catalogue = None
    if hasattr(loaded, "item_ids"):
        catalogue = Catalogue(
            loaded, items.read(directory, manifest), manifest.get("training_events"),
            people.read(directory, manifest), manifest.get("popularity_weight") or 0.0,
        )
        outside = opened(directory, manifest, catalogue, float(loaded.scale), index)
        if outside is not None:
            signatures = searched_outside(outside, signatures, loaded, bool(manifest.get("popularity_weight")))
    protos = {name: proto for name, proto in protos.items() if name not in changing}
    # A checked version has a manifest, and so an identity.
    return LoadedModel(
        version, manifest, identity, protos, signatures, loaded, catalogue, internal,  # type: ignore[arg-type]
        read_moving(directory, manifest), index is not None and index.place == REMOTE,
    )


def ready(
    directory: str,
    version: int,
    manifest: dict[str, Any],
    identity: str | None,
    call: Runner = call,
    changes: "ItemChanges | None" = None,
    warm: Callable[[LoadedModel], None] = lambda model: None,
    load: Callable[..., LoadedModel] = load,
) -> LoadedModel:
    """Loads a version by `load`, attaches it to `changes`, if given, and warms it up by `call` and by `warm`.

    The version is then ready to answer. `load` takes the first four arguments.

    Raises:
      The errors of `load`.
      IndexingError: the version cannot take in the changes.
    """
    model = load(directory, version, manifest, identity)
    if changes is not None:
        changes.attach(model)
    try:
        _warm_up(model, directory, call)
        warm(model)
    except BaseException:
        if changes is not None:
            changes.detach(model)
        raise
    return model


def with_user_rows(model: LoadedModel, deltas: Sequence[user_deltas.UserDelta], identity: str) -> LoadedModel:
    """Gives a loaded version newer rows of its user table, while it serves. Returns it with its new identity.

    The identity is part of the keys of cached vectors. It changes after the rows, so a vector that is cached meanwhile
    under the old identity is never used again.

    Args:
      model: a `LoadedModel`.
      deltas: a list of all `UserDelta`s that apply; [] takes all earlier ones back.
      identity: the identity of the model with these rows.

    Raises:
      VersionRefused: the version has no table of user ids.
    """
    signature = model.internal.get(c.UPDATE_USER_ROWS)
    if signature is None:
        if not deltas or model.root is None:  # a shard of an index has no users
            return model
        raise VersionRefused(f"the version has no signature `{c.UPDATE_USER_ROWS}`: it has no table of user ids.")
    dim = signature.inputs[c.ROWS].shape[1]
    keys, rows = user_deltas.merged(deltas) if deltas else (np.zeros(0, np.int64), np.zeros([0, dim], np.float32))
    signature({c.KEYS: keys, c.ROWS: rows})
    return dataclasses.replace(model, identity=identity)


def _load_ops(library: str | None) -> None:
    if library in op_libraries():
        extras.require(library)  # registers the ops that the graph names
    elif library is not None:
        known = " or ".join(repr(name) for name in sorted(op_libraries()))
        raise VersionRefused(f"`custom_op_library` must be null or {known}. Received: {library!r}.")


def _signature(
    name: str, proto: "SignatureDef", function: Callable[..., dict[str, tf.Tensor]], columns: Mapping[str, str]
) -> Signature:
    columns = {key: column for key, column in columns.items() if key in proto.inputs}
    specs = {
        columns.get(key, key): tf.TensorSpec(
            tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype), columns.get(key, key)
        )
        for key, info in proto.inputs.items()
    }
    defaults = {key: tf.constant(tf.make_ndarray(value)) for key, value in proto.defaults.items()}
    outputs = {key: tf.as_dtype(proto.outputs[key].dtype) for key in sorted(proto.outputs)}
    function = _quick(function, dict(zip(proto.inputs, specs.values())), list(outputs))
    return Signature(name, specs, outputs, defaults, function, columns=columns)


def _quick(
    function: Callable[..., dict[str, tf.Tensor]], specs: Mapping[str, tf.TensorSpec], outputs: Sequence[str]
) -> Callable[..., dict[str, tf.Tensor]]:
    """The function of a loaded signature with less Python around each call.

    TensorFlow's own binds and casts its inputs by name at each call, and looks for gradients. That takes a third of a
    millisecond, as long as many a search. Below it a function takes its tensors, and what it captured, by position.
    """

    def by_position(*tensors: tf.Tensor) -> list[tf.Tensor]:
        answer = function(**dict(zip(specs, tensors)))
        return [answer[name] for name in outputs]

    wrapped = tf.compat.v1.wrap_function(by_position, list(specs.values()))
    run, captured = wrapped.inference_fn.call_flat, wrapped.captured_inputs
    return lambda **tensors: dict(zip(outputs, run(*(tensors[name] for name in specs), *captured)))


def _warm_up(model: LoadedModel, directory: str, call: Runner) -> None:
    path = os.path.join(directory, _WARMUP_FILE)
    if model.root is None or not os.path.exists(path):
        return
    logs = extras.require("tensorflow_serving.apis.prediction_log_pb2")
    for record in tf.data.TFRecordDataset(path).take(_WARMUP_LIMIT).as_numpy_iterator():
        request = logs.PredictionLog.FromString(record).predict_log.request
        signature = model.signature(request.model_spec.signature_name)
        call(model, signature, {
            signature.columns.get(name, name): tensor_protos.to_array(proto) for name, proto in request.inputs.items()
        })
