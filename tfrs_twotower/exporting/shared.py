"""Parts of the graph that several signatures call."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

_Answer = TypeVar("_Answer")


def shared(method: Callable[..., _Answer]) -> Callable[..., _Answer]:
    """Makes a method one function of the graph, which all signatures call, instead of one copy in each signature.

    Called from Python, the method runs eagerly: a trace for every shape would be slow. A function whose first argument
    is a `Retriever` is shared in the same way.
    """
    traced = tf.function(method, autograph=False)

    @functools.wraps(method)
    def run(self: Any, *args: Any, **named: Any) -> _Answer:
        if tf.executing_eagerly():
            return method(self, *args, **named)
        return traced.__get__(self, type(self))(*args, **named)

    return run
