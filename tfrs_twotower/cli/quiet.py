"""Leaves out the log lines of TensorFlow, gRPC and their libraries: what fails raises an error anyway."""

import contextlib
import ctypes
import importlib.util
import logging
import os
from pathlib import Path

import absl.logging

_LEVEL, _FATAL = "TF_CPP_MIN_LOG_LEVEL", "3"
_OF_PYTHON = {"0": logging.INFO, "1": logging.WARNING}  # the lines of TensorFlow's Python at a level; above: errors
# absl::SetMinLogLevel, as TensorFlow 2.20 exports it: by itself Abseil's logging, in C++, does not heed the variable.
_LIBRARY = "libtensorflow_framework.so.2"
_SET_LEVEL = "_ZN4absl12lts_2025012714SetMinLogLevelENS0_18LogSeverityAtLeastE"


def quiet() -> None:
    """Does so for this process, before TensorFlow and gRPC are imported, or as TF_CPP_MIN_LOG_LEVEL and GRPC_VERBOSITY
    say, if they are set."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # otherwise each TLS handshake that fails is a line, and no JSON
    level = _OF_PYTHON.get(os.environ.setdefault(_LEVEL, _FATAL), logging.ERROR)
    absl.logging.set_verbosity(logging.getLevelName(level))
    # A filter, as TensorFlow sets the level of its logger when it is imported in a notebook.
    logging.getLogger("tensorflow").addFilter(lambda record: record.levelno >= level)
    found = importlib.util.find_spec("tensorflow")
    # On another system, or with another version, Abseil's lines appear.
    with contextlib.suppress(OSError, AttributeError, ValueError):
        # Loaded here, in .15 s, as some lines are written while TensorFlow is imported.
        library = ctypes.CDLL(str(Path(str(found and found.origin)).with_name(_LIBRARY)))
        getattr(library, _SET_LEVEL)(int(os.environ[_LEVEL]))
