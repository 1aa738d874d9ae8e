"""Leaves out the log lines of TensorFlow and its libraries: what fails raises an error anyway."""

import ctypes
import importlib.util
import logging
import os
from pathlib import Path

import absl.logging

# absl::SetMinLogLevel(FATAL), as TensorFlow 2.20 exports it: Abseil's lines do not heed TF_CPP_MIN_LOG_LEVEL.
_LIBRARY = "libtensorflow_framework.so.2"
_SET_LEVEL, _FATAL = "_ZN4absl12lts_2025012714SetMinLogLevelENS0_18LogSeverityAtLeastE", 3


def quiet() -> None:
    """Does so for this process, unless TF_CPP_MIN_LOG_LEVEL is set. Call it before TensorFlow is imported."""
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    absl.logging.set_verbosity(absl.logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    found = importlib.util.find_spec("tensorflow")
    try:
        # Loaded here, .15 s: some lines are written while TensorFlow is imported.
        library = ctypes.CDLL(str(Path(str(found and found.origin)).with_name(_LIBRARY)))
        getattr(library, _SET_LEVEL)(_FATAL)
    except (OSError, AttributeError):  # another system or version: its lines appear
        pass
