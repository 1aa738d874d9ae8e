"""The vocabularies and statistics that the fields of a training learned, as a file of plain arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.data import InteractionLog
from tfrs_twotower.durable import DAMAGED_NPZ, written_aside
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.features import Id, PastFeature, Schema, fingerprints, key_tensor
from tfrs_twotower.towers import EnsembleTower, Tower

_FIELDS = "fields.npz"

States = dict[str, dict[str, dict[str, np.ndarray]]]  # {side: result of `Tower.state`}


def has_fields(folder: str | Path) -> bool:
    """Whether a training has begun in the folder of its checkpoints."""
    return (Path(folder) / _FIELDS).is_file()


def write_fields(folder: str | Path, towers: Sequence[Tower | EnsembleTower]) -> None:
    """Writes the vocabularies and statistics of the fields of (query tower, candidate tower) as plain arrays into a
    training's folder."""
    arrays: dict[str, Any] = {}
    for side, tower in zip(("query", "candidate"), towers):
        for field, state in tower.state().items():
            arrays.update({f"{side}/{field}/{key}": value for key, value in state.items()})
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with written_aside(folder / _FIELDS) as f:
        np.savez(f, **arrays)


def read_fields(folder: str | Path) -> States:
    """The states that `write_fields` kept.

    Raises:
      TrainingError: they cannot be read.
    """
    file = Path(folder) / _FIELDS
    states: dict[str, dict] = {"query": {}, "candidate": {}}
    try:
        with np.load(file, allow_pickle=False) as arrays:
            for path in arrays.files:
                side, field, key = path.split("/", 2)
                states[side].setdefault(field, {})[key] = arrays[path]
    except DAMAGED_NPZ as error:
        raise TrainingError(f"{file} cannot be read ({error}). Train the run anew.") from error
    return states


def of_ids_in(log: InteractionLog, schema: Schema, states: States) -> tuple[States, dict[str, dict[str, np.ndarray]]]:
    """(the states with the ids of a log's users and items alone; {side: {field of such ids: int64: the rows of its
    learned table that its new one begins with, which are row 0 and those of these ids}}).
    """
    states, places = {side: dict(fields) for side, fields in states.items()}, {"query": {}, "candidate": {}}
    for side, features, column, table in (
        ("query", schema.query, c.USER_ID, log.users), ("candidate", schema.candidate, c.ITEM_ID, log.items)
    ):
        asked = pa.array(fingerprints(key_tensor(table[column], column)).numpy())
        for feature in features:
            if isinstance(feature, Id) and feature.column == column and not feature.buckets:
                field = states[side][feature.name]
                rows = np.flatnonzero(pc.is_in(pa.array(field["keys"]), value_set=asked).to_numpy(zero_copy_only=False))
                states[side][feature.name] = {**field, "keys": field["keys"][rows]}
                places[side][feature.name] = np.concatenate([[0], rows + 1])
    for feature in schema.query:
        if isinstance(feature, PastFeature) and feature.categories:  # they are kept by the row of the item's id
            items = places["candidate"][schema.item_id.name]
            states["query"][feature.name] = {
                key: value[items] if key.endswith("/of_rows") else value
                for key, value in states["query"][feature.name].items()
            }
    return states, places
