"""Importing TensorFlow without Python's search for garbage."""

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Imports of the block take a third less CPU time; for commands that end soon.

    TensorFlow's modules are 360,000 objects that live until the process ends. Python would search them for garbage
    again and again while they are imported, and when the process ends. So the collector rests in the block, and then
    passes over all that there is. If TensorFlow is there already, nothing changes.
    """
    if "tensorflow" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
