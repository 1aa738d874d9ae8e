"""The signatures of a SavedModel, called by name with their defaults."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.errors import nearest
from tfrs_twotower.serving.errors import InvalidArgument

if TYPE_CHECKING:
    from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

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


def signature_of(
    name: str, proto: "SignatureDef", function: Callable[..., dict[str, tf.Tensor]], columns: Mapping[str, str]
) -> Signature:
    """The `Signature` of a loaded SavedModel's function.

    Args:
      name: of the signature.
      proto: what the SavedModel says of its inputs, outputs and defaults.
      function: the loaded one.
      columns: {input's name: column} of inputs that are not called as their columns are.
    """
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
