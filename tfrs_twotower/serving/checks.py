"""Checks of the inputs of a request, besides `Limits`. Each raises `InvalidArgument`."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns
from tfrs_twotower.errors import invalid
from tfrs_twotower.serving.errors import InvalidArgument
from tfrs_twotower.serving.model import LoadedModel
from tfrs_twotower.serving.signature import Signature

_FINITE = {
    columns.POPULARITY_BETA: "Send 0 for no correction.",
    columns.EMBEDDING: "Send a vector of `embed_query`.",
    columns.OBJECTIVES: "Send the weight of each objective.",
}
_MISSING = {columns.TIMESTAMP: ("time", 0), columns.EVENT: ("kind", '""'), columns.DWELL: ("dwell time", -1)}
_LISTS = (columns.EXCLUDE_IDS, columns.ALLOW_IDS, columns.OBJECTIVES)
_LARGEST = 1e15  # products of larger numbers overflow float32, and no item would be found


def check_type(spec: tf.TensorSpec, array: np.ndarray) -> np.ndarray:
    """The array, with text as bytes. It must have the type of its input's spec."""
    if spec.dtype == tf.string and array.dtype.kind in "SUO":
        return _texts(spec.name, array)
    if tf.as_dtype(array.dtype) != spec.dtype:
        rule = f"be {spec.dtype.name}"
        raise InvalidArgument(invalid(spec.name, rule, array.dtype.name, "Convert it."))
    return array


def check_sent(signature: Signature, inputs: Mapping[str, np.ndarray]) -> None:
    """Checks the numbers of rows of what the caller sent, before the server fills in the rest: a message then names
    inputs that the caller knows.

    Args:
      signature: the `Signature` that will run.
      inputs: {column: array}.
    """
    asking = {name: inputs[name].shape for name in inputs if name in (*signature.required, columns.USER_ID)}
    _check_rows(asking)
    given = {name: inputs[name].shape[0] for name in _LISTS if name in inputs}
    if columns.POPULARITY_BETA in inputs:
        given[columns.POPULARITY_BETA] = inputs[columns.POPULARITY_BETA].size
    _check_options(given, asking)


def check_values(model: LoadedModel, arrays: Mapping[str, np.ndarray]) -> None:
    """Checks the numbers of all inputs, and that the parts of a history are equally long."""
    for name, way_out in _FINITE.items():
        if name in arrays:
            _check_finite(name, arrays[name], way_out)
    _check_history(model, arrays)


def _check_rows(shapes: Mapping[str, Sequence[int]]) -> None:
    batched = {name: shape[0] for name, shape in shapes.items() if shape}
    first: str = next(iter(batched), None)  # type: ignore[assignment]  # None only if nothing is compared
    for name, rows in batched.items():
        if not rows:
            raise InvalidArgument(invalid(name, "have at least one row", "0 rows", "Send one value a row."))
        if rows != batched[first]:
            rule = f"have as many rows as `{first}`, which has {batched[first]}"
            raise InvalidArgument(invalid(name, rule, f"{rows} rows", "Send one value a row."))


def _check_options(rows: Mapping[str, int], asking: Mapping[str, Sequence[int]]) -> None:
    batched = [(name, shape[0]) for name, shape in asking.items() if shape]
    for name, given in rows.items():
        if batched and given not in (1, batched[0][1]):
            rule = f"have one row, or as many as `{batched[0][0]}`, which has {batched[0][1]}"
            raise InvalidArgument(invalid(name, rule, f"{given} rows", "Send one for each row, or one for all."))


def _check_finite(name: str, values: np.ndarray, way_out: str) -> None:
    broken = values[~(np.abs(values) <= _LARGEST)]
    if broken.size:
        rule = f"be finite, and from {-_LARGEST:g} to {_LARGEST:g}"
        raise InvalidArgument(invalid(name, rule, float(broken[0]), way_out))


def _check_history(model: LoadedModel, arrays: Mapping[str, np.ndarray]) -> None:
    for name in model.past_items:
        if name not in arrays:
            continue
        width, past = arrays[name].shape[1], name.removesuffix(columns.ITEM_ID)
        for part, (what, missing) in _MISSING.items():
            if past + part in arrays and (given := arrays[past + part].shape[1]) != width:
                rule, way_out = f"have a {what} for each of the {width} places of `{name}`", f"Send {missing} for none."
                raise InvalidArgument(invalid(past + part, rule, f"{given} a row", way_out))


def _texts(name: str, array: np.ndarray) -> np.ndarray:
    """The array with text as bytes. Raises `InvalidArgument` for other values."""
    values = array.ravel().tolist()
    kinds = set(map(type, values))
    if wrong := kinds - {bytes, str}:
        kind = sorted(kind.__name__ for kind in wrong)[0]
        raise InvalidArgument(f"`{name}` cannot be read as string: it holds a value of type {kind}.")
    if array.dtype == object and kinds <= {bytes}:
        return array
    texts = np.empty(len(values), object)
    try:
        texts[:] = [value.encode() if isinstance(value, str) else value for value in values]
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"`{name}` cannot be read as string: {error}.") from error
    return texts.reshape(array.shape)
