"""TF Serving's JSON of tensors: rows ("instances", "predictions") and columns ("inputs", "outputs").

https://www.tensorflow.org/tfx/serving/api_rest defines the formats. There are four differences. Inputs that have a
default may be left out. null in a request is a missing value. true and false are 1 and 0 where a whole number is
expected. NaN and infinities are written as null, because JSON cannot express them.
"""

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
import tensorflow as tf

from tfrs_twotower import extras
from tfrs_twotower.errors import invalid
from tfrs_twotower.ids import missing_value
from tfrs_twotower.serving.errors import InvalidArgument, ResourceExhausted
from tfrs_twotower.serving.signature import Signature

orjson = extras.require("orjson")

INSTANCES, INPUTS = "instances", "inputs"
PREDICTIONS, OUTPUTS = "predictions", "outputs"

_B64 = "b64"
_BYTES_SUFFIX = "_bytes"  # TF Serving writes outputs with this ending as base64
_MAX_RANK = 8
_EXAMPLE, _QUOTED = 5, 80  # values and characters of an example in a message


def parse(body: bytes, most: int) -> dict[str, Any]:
    """Parses a request body, bytes of a JSON object. Raises `InvalidArgument`, `ResourceExhausted`.

    most: the most values and lists that it may hold. Before the body is parsed, the characters "," "[" and "{" are
      counted for them, so that a refusal costs little time.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > most:
        raise ResourceExhausted(f"The body must hold at most {most} values and lists. Send smaller batches.")
    if not body.strip():
        raise InvalidArgument("The request has no body. Send a JSON object.")
    try:
        request = json.loads(body)
        if b"\\u" in body or not body.isascii():  # half a surrogate pair, which no tensor, log or answer can hold
            json.dumps(request, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"JSON parse error: {error}") from error
    if not isinstance(request, dict):
        raise InvalidArgument("The request body must be a JSON object.")
    return request


def decode(
    request: Mapping[str, Any],
    signature: Signature,
    check: Callable[[tf.TensorSpec, Sequence[int]], None] = lambda spec, shape: None,
) -> tuple[dict[str, np.ndarray], bool]:
    """Arrays by input name, from a parsed request.

    Args:
      request: the parsed JSON object.
      signature: a `Signature`.
      check: a function that raises if an input's shape is over the limits: `Limits.check_size`. It is called before
        the values are read.

    Returns:
      (arrays, whether the request came in rows, so that the answer must too).

    Raises:
      InvalidArgument: the request does not follow the format, or a value does not have its input's type.
    """
    if (INSTANCES in request) == (INPUTS in request):
        raise InvalidArgument(f"The request must hold either '{INSTANCES}' or '{INPUTS}'.")
    by_row = INSTANCES in request
    if by_row:
        rows = request[INSTANCES]
        check(tf.TensorSpec([None], name=INSTANCES), [len(rows)] if isinstance(rows, list) else [])
        values = _columns_of_rows(rows, signature)
    else:
        values = _columns(request[INPUTS], signature)
    return {name: _array(name, value, signature.spec(name), check, by_row) for name, value in values.items()}, by_row


def encode(outputs: Mapping[str, np.ndarray], by_row: bool, named: Mapping[str, Sequence[str]] = {}) -> bytes:
    """The response body of arrays by output name, in bytes. `named` holds one text a row, such as `answer_id`.

    Raises:
      InvalidArgument: the answer must come in rows, and the outputs do not have the same number of rows.
    """
    names = sorted(outputs)
    values = {name: _values(name, outputs[name]) for name in names}
    if by_row:
        rows = {outputs[name].shape[:1] for name in names}
        if len(rows) > 1 or () in rows:
            raise InvalidArgument(
                f"The outputs {names} do not have the same number of rows. Ask with '{INPUTS}' instead of "
                f"'{INSTANCES}'."
            )
    if len(names) == 1:
        answer = values[names[0]]
    elif by_row:
        answer = [dict(zip(names, row)) for row in zip(*values.values())]
    else:
        answer = values
    body = {PREDICTIONS if by_row else OUTPUTS: answer, **named}
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY, default=np.ndarray.tolist)


def _columns_of_rows(instances: object, signature: Signature) -> dict[str, list[Any]]:
    if not isinstance(instances, list) or not instances:
        raise InvalidArgument(f"'{INSTANCES}' must be a list of at least one instance.")
    named = [isinstance(instance, dict) and not _is_b64(instance) for instance in instances]
    if not any(named):
        return {_only_input(signature, INSTANCES): instances}
    names = instances[0].keys() if named[0] else ()
    for i, instance in enumerate(instances):
        if not named[i] or instance.keys() != names:
            raise InvalidArgument(f"'{INSTANCES}' must all have the same keys; instance {i} differs.")
    return {name: [instance[name] for instance in instances] for name in names}


def _columns(inputs: object, signature: Signature) -> dict[str, Any]:
    if isinstance(inputs, dict) and not _is_b64(inputs):
        return inputs
    return {_only_input(signature, INPUTS): inputs}


def _only_input(signature: Signature, key: str) -> str:
    if len(signature.required) != 1:
        raise InvalidArgument(
            f"'{key}' holds plain values, but signature `{signature.name}` needs the inputs "
            f"{signature.required}. Send objects with these names."
        )
    return signature.required[0]


def _array(
    name: str, value: object, spec: tf.TensorSpec, check: Callable[[tf.TensorSpec, Sequence[int]], None], by_row: bool
) -> np.ndarray:
    shape, leaf = [], value
    while isinstance(leaf, list):
        shape.append(len(leaf))
        leaf = next((part for part in leaf if part is not None), None)
    if len(shape) > _MAX_RANK:
        raise InvalidArgument(f"`{name}` is nested deeper than {_MAX_RANK} lists.")
    check(spec, shape)
    _check_depth(name, value, len(shape), spec.shape.rank, by_row)
    leaves = []
    _flatten(name, value, shape, leaves)
    return _convert(name, leaves, spec.dtype).reshape(shape)


def _check_depth(name: str, value: Any, depth: int, rank: int | None, by_row: bool) -> None:
    """Raises `InvalidArgument` for a value in place of a list of such values, or the reverse.

    depth: how deep the lists of `value` are. With `by_row` the outer one is that of the instances.
    """
    if rank is None or abs(depth - rank) != 1:
        return
    one, deep = (value[0], rank - 1) if by_row else (value, rank)
    what = "a list" + " of lists" * (deep - 1) if deep else "one value"
    example = [one] if depth < rank else one[0] if one else None
    long = isinstance(one, list) and len(one) > _EXAMPLE
    way_out = f"Send {what}." if long else f"Send {what}: {json.dumps(example)[:_QUOTED]}."
    raise InvalidArgument(invalid(name, f"be {what}", one, way_out))


def _flatten(name: str, value: object, shape: Sequence[int], leaves: list[Any]) -> None:
    if not shape:
        leaves.append(value)
        return
    if value is None:  # a missing list becomes a list of missing values
        leaves.extend([None] * math.prod(shape))
        return
    if not isinstance(value, list) or len(value) != shape[0]:
        raise InvalidArgument(
            f"`{name}` must be rectangular: lists at one level must be equally long. "
            "Pad the shorter ones with the missing value."
        )
    if len(shape) == 1:
        leaves.extend(value)
        return
    for part in value:
        _flatten(name, part, shape[1:], leaves)


def _convert(name: str, leaves: list[Any], dtype: tf.DType) -> np.ndarray:
    leaves = [missing_value(dtype) if leaf is None else leaf for leaf in leaves]
    if dtype == tf.string:
        array = np.empty(len(leaves), object)
        array[:] = [_bytes(name, leaf) for leaf in leaves]
        return array
    kinds = {bool} if dtype.is_bool else {int} if dtype.is_integer else {int, float}
    if dtype == tf.int64:  # the type of features
        kinds = {int, bool}
    wrong = set(map(type, leaves)) - kinds
    if wrong:
        names = sorted(kind.__name__ for kind in wrong)
        raise InvalidArgument(f"`{name}` must be {dtype.name}. Received values of type {', '.join(names)}.")
    try:
        with np.errstate(over="ignore"):  # too large for float32 becomes infinite, as in TF Serving
            return np.array(leaves, dtype.as_numpy_dtype)
    except OverflowError as error:
        # As Python's own numbers: NumPy's cannot be compared with a whole number that no float holds.
        least, most = (np.asarray(limit).item() for limit in (dtype.min, dtype.max))
        wrong = next(leaf for leaf in leaves if not least <= leaf <= most)
        rule = f"be {dtype.name}, from {dtype.min} to {dtype.max}"
        raise InvalidArgument(invalid(name, rule, wrong, "Send one that fits.")) from error


def _bytes(name: str, leaf: object) -> bytes:
    try:
        if isinstance(leaf, str):
            return leaf.encode()
        if _is_b64(leaf):
            text = leaf[_B64]
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise InvalidArgument(f"`{name}` holds a string that is broken: {error}.") from error
    raise InvalidArgument(
        f"`{name}` must be strings, or objects with one key '{_B64}'. Received a {type(leaf).__name__}; "
        "lists must be equally long and equally deep."
    )


def _is_b64(value: object) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and value.keys() == {_B64} and isinstance(value[_B64], str)


def single(value: float) -> float:
    """The float with the shortest text among those with the same float32: 0.2 for 0.20000000298023224. A value that is
    no float32 is returned unchanged."""
    with np.errstate(over="ignore"):
        narrow = np.float32(value)
    return float(str(narrow)) if narrow == value else value


def _values(name: str, array: np.ndarray) -> Any:
    """What `orjson` can write: nested lists, an array of numbers, or a number.

    It writes float32 with the fewest digits that give the same float32, as `single` does, and NaN and infinities as
    null. It knows no arrays of no dimension.
    """
    if array.dtype.kind in "OS":
        return _nested([_text(name, value) for value in array.ravel()], array.shape)
    if array.dtype.kind not in "biu" and array.dtype != np.float64:
        array = array.astype(np.float32)
    return array[()]


def _nested(values: list[Any], shape: tuple[int, ...]) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape).tolist()


def _text(name: str, value: bytes) -> str | dict[str, str]:
    if not name.endswith(_BYTES_SUFFIX):
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    return {_B64: base64.b64encode(value).decode()}
