"""Loads a version, and gives a loaded one newer rows of users."""

import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower import extras
from tfrs_twotower.exporting import items, people, user_deltas
from tfrs_twotower.exporting.moving import read_moving
from tfrs_twotower.index import REMOTE, IndexKind, op_libraries, searchers_end_with
from tfrs_twotower.serving import tensor_protos
from tfrs_twotower.serving.catalogue import Catalogue
from tfrs_twotower.serving.errors import VersionRefused
from tfrs_twotower.serving.model import LoadedModel, Runner, call
from tfrs_twotower.serving.outside_index import opened, searched_outside
from tfrs_twotower.serving.signature import signature_of
from tfrs_twotower.serving.signature_defs import TAG, meta_graph, signature_defs, state_changing

if TYPE_CHECKING:
    from tfrs_twotower.serving.current_items import ItemChanges

_log = logging.getLogger(__name__)
_WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
_WARMUP_LIMIT = 1000  # as in TF Serving


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
        name: signature_of(name, protos[name], function, manifest.get("columns") or {})
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
