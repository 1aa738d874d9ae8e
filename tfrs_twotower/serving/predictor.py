"""Checks and runs requests to a loaded model. It does not depend on the transport."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from concurrent.futures import Executor

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfrs_twotower import columns
from tfrs_twotower.configuration import config
from tfrs_twotower.errors import invalid
from tfrs_twotower.serving.answer_recorder import AnswerRecorder
from tfrs_twotower.serving.blocks import blocks, together
from tfrs_twotower.serving.errors import InvalidArgument, ResourceExhausted, ServingError
from tfrs_twotower.serving.features import Features, with_seen
from tfrs_twotower.serving.joined_calls import Answer, JoinedCalls, alike
from tfrs_twotower.serving.model import LoadedModel, Runner, Signature, Value, call
from tfrs_twotower.serving.repository import Repository

_FINITE = {
    columns.POPULARITY_BETA: "Send 0 for no correction.",
    columns.EMBEDDING: "Send a vector of `embed_query`.",
    columns.OBJECTIVES: "Send the weight of each objective.",
}
_MISSING = {columns.TIMESTAMP: ("time", 0), columns.EVENT: ("kind", '""'), columns.DWELL: ("dwell time", -1)}
_LISTS = (columns.EXCLUDE_IDS, columns.ALLOW_IDS, columns.OBJECTIVES)
_STORE = " Send them, or start the server with a store that has them: twotower serve --store …."
_LARGEST = 1e15  # products of larger numbers overflow float32, and no item would be found
_INTERESTS = 16  # vectors of a query at most
_SPARE = 100  # more than `OutsideIndex` asks for in place of hidden items, beside k
_UNKNOWN_RANK_LIMIT = 2  # an input of unknown rank (`k`) is a scalar or one value for each batch row


@config
class Limits:
    """The limits on one request.

    Attributes:
      max_batch: batch rows of any input.
      max_k: items in the answer of each batch row.
      max_width: length of the lists of a batch row (history, exclusions, candidates).
      max_values: values in the lists of an input (batch rows times length), and values in a whole JSON body. Each value
        may become a vector in memory: a million vectors of 64 float32 take 256 MB.
      max_events: events, or changes of items, that a request may record.
      max_body_bytes: bytes of a request, as it comes over the wire.
    """

    max_batch: int = 1024
    max_k: int = 1000
    max_width: int = 10_000
    max_values: int = 2**20
    max_events: int = 1000
    max_body_bytes: int = 8 * 1024 * 1024

    def of_searches(self) -> Limits:
        """The limits on searches that a front with these limits sends to its shards: with room for what it filters."""
        most = 2 * self.max_k + self.max_width + _SPARE
        return dataclasses.replace(self, max_batch=_INTERESTS * self.max_batch, max_k=most)


Answerer = Callable[..., Answer]  # like `Predictor.answer`


class Predictor:
    """Checks requests, fills in inputs that they leave out, and runs them. Threads may share one object.

    Args:
      repository: a `Repository`.
      limits: a `Limits`.
      features: a `Features` that adds the stored features of users; None: requests must carry all features.
      call: a function that runs a signature: (model, signature, tensors) → tensors. That of a `CachedTower` caches
        query vectors.
      answers: an `AnswerRecorder` that keeps what `answer` gives; None: nothing is kept.
    """

    def __init__(
        self, repository: Repository, limits: Limits = Limits(), features: Features | None = None, call: Runner = call,
        answers: AnswerRecorder | None = None,
    ) -> None:
        self.repository = repository
        self.limits = limits
        self._features = features
        self._call = call
        self._answers = answers
        self._joined = JoinedCalls()

    def predict(
        self, signature_name: str, inputs: Mapping[str, ArrayLike | tf.Tensor], version: int | None = None
    ) -> dict[str, np.ndarray]:
        """Runs one request.

        Args:
          signature_name: "" means `serving_default`.
          inputs: arrays or tensors by name. Inputs that have a default may be left out.
          version: an integer; None means the newest.

        Returns:
          Arrays by name; strings are `bytes`.

        Raises:
          InvalidArgument: a name is unknown or missing, a type or rank is wrong, `k` is out of range,
            `popularity_beta` is not finite, or the items and times of a history differ in length.
          NotFound: there is no such version or signature.
          ResourceExhausted: there are more batch rows or longer lists than the limits allow.
          Unavailable: no version is loaded.
        """
        with self.repository.lease(version) as model:
            return self.run(model, self.signature(model, signature_name), inputs)

    def signature(self, model: LoadedModel, name: str) -> Signature:
        """The signature of a name as requests see it: inputs that the server fills in are not required."""
        signature = model.signature(name)
        return signature if self._features is None else self._features.asked(model, signature)

    def run(
        self,
        model: LoadedModel,
        asked: Signature,
        inputs: Mapping[str, ArrayLike | tf.Tensor],
        pause: Callable[[], None] = lambda: None,
    ) -> dict[str, np.ndarray]:
        """Does the same as `predict`, for a `signature` of a model that `repository.lease` holds already.

        pause: a function that is called before each block of a large request. An error that it raises ends the request.
        """
        return self.execute(model, asked.name, self.prepare(model, asked, inputs), pause)

    def answer(
        self,
        model: LoadedModel,
        asked: Signature,
        inputs: Mapping[str, ArrayLike | tf.Tensor],
        pause: Callable[[], None] = lambda: None,
    ) -> Answer:
        """(the outputs as of `run`, {"answer_id": the id under which each row's answer is kept}); {}: they are not."""
        given = self._given(asked, inputs)
        like = self._alike(model, asked, given)
        if like is None:
            return self._answer(model, asked, given, pause)
        return self._joined.answer(like, model, asked, given, functools.partial(self._answer, model, asked))

    def answer_on_loop(
        self, model: LoadedModel, asked: Signature, inputs: Mapping[str, ArrayLike | tf.Tensor], threads: Executor,
        seconds: float, begin: Callable[[], object] = lambda: None,
    ) -> Awaitable[Answer] | None:
        """As `answer`, on the running event loop: one of the `threads` answers those that wait together, at most
        `seconds`. It calls `begin` before. None: this request is joined with no other, and needs a thread of its own.
        """
        given = self._given(asked, inputs)
        like = self._alike(model, asked, given)
        if like is None:
            return None
        run = functools.partial(self._answer, model, asked)
        return self._joined.answer_on_loop(like, model, asked, given, run, threads, seconds, begin)

    @property
    def joins(self) -> bool:
        """Are any requests joined? A cold user's search is exact, and slow: where users get one, none are."""
        return self._features is None or not self._features.cold_beta

    def _alike(self, model: LoadedModel, asked: Signature, given: Mapping[str, np.ndarray]) -> Hashable | None:
        """See `joined_calls.alike`."""
        return alike(model, asked, given) if self.joins else None

    def _answer(
        self,
        model: LoadedModel,
        asked: Signature,
        given: Mapping[str, np.ndarray],
        pause: Callable[[], None] = lambda: None,
    ) -> Answer:
        arrays = self._filled(model, asked, given)
        outputs = self.execute(model, asked.name, arrays, pause)
        if self._answers is None:
            return outputs, {}
        users = given.get(columns.USER_ID)
        ids = self._answers.predicted(model, model.signature(asked.name), arrays, outputs, users)
        return outputs, {} if ids is None else {"answer_id": ids}

    def prepare(
        self, model: LoadedModel, asked: Signature, inputs: Mapping[str, ArrayLike | tf.Tensor]
    ) -> dict[str, np.ndarray]:
        """The arrays by name that `run` gives to the signature: checked, with the inputs that the server fills in."""
        return self._filled(model, asked, self._given(asked, inputs))

    def _given(
        self, asked: Signature, inputs: Mapping[str, ArrayLike | tf.Tensor]
    ) -> dict[str, np.ndarray]:
        """The inputs of a request as arrays by their columns' names, each of the right type and within the limits."""
        names = asked.columns
        return {names.get(name, name): self._checked(asked.spec(name), value) for name, value in inputs.items()}

    def _filled(
        self, model: LoadedModel, asked: Signature, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        signature, arrays = model.signature(asked.name), dict(inputs)
        # These checks come before the server fills in the rest, so that a message names inputs that the caller sent.
        asking = {name: arrays[name].shape for name in inputs if name in (*signature.required, columns.USER_ID)}
        _check_rows(asking)
        given = {name: arrays[name].shape[0] for name in _LISTS if name in inputs}
        if columns.POPULARITY_BETA in inputs:
            given[columns.POPULARITY_BETA] = arrays[columns.POPULARITY_BETA].size
        _check_options(given, asking)
        if self._features is not None:
            arrays = self._features.join(model, signature, arrays)
        arrays = with_seen(model, signature, arrays)
        missing = [name for name in signature.required if name not in arrays]
        if missing:
            missing = [name for name in asked.required if name not in inputs] or missing
            asks_store = self._features is None and columns.USER_ID in inputs and {*missing} <= {*model.query_inputs}
            hint = _STORE if asks_store else ""
            received = sorted(name for name in inputs if name not in signature.defaults)  # k and its like help nothing
            raise InvalidArgument(
                f"Signature `{signature.name}` needs the inputs {missing}. Received: {received}.{hint}"
            )
        if columns.K in arrays:
            self._check_k(arrays[columns.K])
        for name, way_out in _FINITE.items():
            if name in arrays:
                _check_finite(name, arrays[name], way_out)
        _check_history(model, arrays)
        return arrays

    def execute(
        self, model: LoadedModel, name: str, inputs: Mapping[str, Value], pause: Callable[[], None] = lambda: None
    ) -> dict[str, np.ndarray]:
        """Runs a signature on arrays from `prepare`, or on tensors; returns arrays by name."""
        signature = model.signature(name)

        def run(part: Mapping[str, Value]) -> dict[str, np.ndarray]:
            return {name: _array(value) for name, value in self._call(model, signature, part).items()}

        try:
            return together(blocks(model, name, inputs), run, pause)
        except tf.errors.InvalidArgumentError as error:
            raise InvalidArgument(f"The model refused the request: {_reason(error)}") from error
        except tf.errors.OpError as error:
            raise ServingError(f"The model failed: {_reason(error)}") from error

    def check_shape(self, spec: tf.TensorSpec, shape: Sequence[int]) -> None:
        """Raises `InvalidArgument` for a wrong rank or size, `ResourceExhausted` for a shape over the limits."""
        name = spec.name
        if spec.shape.rank is None:
            if len(shape) > _UNKNOWN_RANK_LIMIT:
                rule = f"have at most {_UNKNOWN_RANK_LIMIT} dimensions"
                raise InvalidArgument(invalid(name, rule, list(shape), "Send a scalar, or one value a row."))
        elif not spec.shape.is_compatible_with(shape):
            expected = ["any" if size is None else size for size in spec.shape]
            raise InvalidArgument(invalid(name, f"have the shape {expected}", list(shape), "Reshape it."))
        self.check_size(spec, shape)

    def check_size(self, spec: tf.TensorSpec, shape: Sequence[int]) -> None:
        """Raises `ResourceExhausted` for a shape over the limits."""
        limits, name = self.limits, spec.name
        if len(shape) and shape[0] > limits.max_batch:
            rule = f"have at most {limits.max_batch} rows"
            raise ResourceExhausted(invalid(name, rule, list(shape), "Send smaller batches."))
        if max(shape[1:], default=0) > limits.max_width:
            rule = f"have lists of at most {limits.max_width} values"
            raise ResourceExhausted(invalid(name, rule, list(shape), "Send shorter lists."))
        if _has_lists(spec) and math.prod(shape) > limits.max_values:
            rule = f"have at most {limits.max_values} values, rows times length of a list"
            way_out = f"Send shorter lists, or {limits.max_values // math.prod(shape[1:])} rows at a time."
            raise ResourceExhausted(invalid(name, rule, list(shape), way_out))

    def _checked(self, spec: tf.TensorSpec, value: ArrayLike | tf.Tensor) -> np.ndarray:
        array = np.asarray(value)
        self.check_shape(spec, array.shape)
        if spec.dtype == tf.string and array.dtype.kind in "SUO":
            return _texts(spec.name, array)
        if tf.as_dtype(array.dtype) != spec.dtype:
            rule = f"be {spec.dtype.name}"
            raise InvalidArgument(invalid(spec.name, rule, array.dtype.name, "Convert it."))
        return array

    def _check_k(self, k: np.ndarray) -> None:
        if k.size == 0 or k.min() < 1 or k.max() > self.limits.max_k:
            received = k.tolist() if k.size <= 10 else f"between {k.min()} and {k.max()}"
            raise InvalidArgument(
                invalid(columns.K, f"be between 1 and {self.limits.max_k}", received, "Change k.")
            )


def _has_lists(spec: tf.TensorSpec) -> bool:
    """Does the request choose the length of a batch row? The model chooses the length of a vector."""
    return spec.shape.rank is None or None in spec.shape[1:]


def _array(tensor: tf.Tensor) -> np.ndarray:
    """The tensor as an array. A string scalar comes as bytes, which have neither shape nor dtype."""
    value = tensor.numpy()
    return np.array(value, object) if isinstance(value, bytes) else value


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


def _reason(error: tf.errors.OpError) -> str:
    """The line of a graph's error message that says what was wrong, without the trace of the graph around it."""
    return (error.message.partition("\n\t [[")[0].splitlines() or [type(error).__name__])[-1]


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
