"""Loads an export as TF Serving does: TensorFlow's C API in a process without Python.

`compile_loader` builds `capi_loader.cc` against the installed TensorFlow; `run` feeds it.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

_SOURCE = Path(__file__).with_name("capi_loader.cc")
_TENSORFLOW = os.path.dirname(tf.__file__)


def compile_loader(folder):
    """Builds the program in `folder` and returns its path. Skips the test where there is no g++."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed: the C API test cannot be built")
    program = os.path.join(folder, "capi_loader")
    command = ["g++", "-O1", "-std=c++17", f"-I{_TENSORFLOW}/include", str(_SOURCE), "-o", program]
    # --no-as-needed: the kernels register themselves; nothing in the program names their library.
    command += [f"-L{_TENSORFLOW}", "-Wl,--no-as-needed", "-l:libtensorflow_cc.so.2"]
    command += ["-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{_TENSORFLOW}", "-pthread"]
    if shutil.which("ld.gold"):
        command.append("-fuse-ld=gold")  # five seconds faster on a library of this size
    subprocess.run(command, check=True)
    return program


def scann_library():
    """The path of ScaNN's op library. Skips the test where scann is not installed."""
    scann = pytest.importorskip("scann", reason="scann is not installed")
    return os.path.join(os.path.dirname(scann.__file__), "scann_ops", "cc", "_scann_ops.so")


def run(program, export, inputs, signature="serving_default", op_library=None):
    """Runs a signature.

    Args:
      program: what `compile_loader` returned.
      export: a version directory.
      inputs: arrays (or nested lists of str) by name: strings, float32, int32, int64. Those that have
        a default may be left out.
      op_library: a path, for graphs with custom ops.

    Returns:
      Arrays by output name; strings are `bytes`.

    Raises:
      RuntimeError: with the program's message.
    """
    command = [program, str(export), signature] + ([op_library] if op_library else [])
    text = "".join(_line(name, np.asarray(value)) for name, value in inputs.items())
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", "PATH": os.environ["PATH"]}  # nothing of Python's
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"capi_loader failed: {done.stderr[-2000:]}")
    return dict(map(_read, done.stdout.splitlines()))


def _line(name, array):
    if array.dtype.kind in "USO":
        dtype, values = "string", [_hex(v) for v in array.ravel()]
    else:
        dtype, values = array.dtype.name, [repr(v) for v in array.ravel().tolist()]
    return " ".join([name, dtype, str(array.ndim), *map(str, array.shape), *values]) + "\n"


def _hex(value):
    return "x" + (value.encode() if isinstance(value, str) else value).hex()


def _read(line):
    name, dtype, rank, *rest = line.split(" ")
    shape, values = [int(size) for size in rest[: int(rank)]], rest[int(rank) :]
    if dtype == "string":
        array = np.empty(len(values), object)
        array[:] = [bytes.fromhex(value[1:]) for value in values]
    else:
        array = np.array(values, dtype)
    return name, array.reshape(shape)
