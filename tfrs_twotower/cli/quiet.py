"""Leaves out the log lines of TensorFlow, gRPC and their libraries: what fails raises an error anyway."""

import contextlib
import ctypes
import importlib.util
import logging
import os
from pathlib import Path

import absl.logging

_LEVEL, _FATAL = "TF_CPP_MIN_LOG_LEVEL", "3"
# absl::SetMinLogLevel, as TensorFlow 2.20 exports it: by itself Abseil's logging, in C++, does not heed the variable.
_LIBRARY = "libtensorflow_framework.so.2"
_SET_LEVEL = "_ZN4absl12lts_2025012714SetMinLogLevelENS0_18LogSeverityAtLeastE"


def quiet() -> None:
    """Does so for this process, before TensorFlow and gRPC are imported, or as TF_CPP_MIN_LOG_LEVEL and GRPC_VERBOSITY
    say, if they are set."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # otherwise each TLS handshake that fails is a line, and no JSON
    if _LEVEL not in os.environ:
        os.environ[_LEVEL] = _FATAL
        absl.logging.set_verbosity(absl.logging.ERROR)
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
    found = importlib.util.find_spec("tensorflow")
    # On another system, or with another version, Abseil's lines appear.
    with contextlib.suppress(OSError, AttributeError, ValueError):
        # Loaded here, in .15 s, as some lines are written while TensorFlow is imported.
        library = ctypes.CDLL(str(Path(str(found and found.origin)).with_name(_LIBRARY)))
        getattr(library, _SET_LEVEL)(int(os.environ[_LEVEL]))
