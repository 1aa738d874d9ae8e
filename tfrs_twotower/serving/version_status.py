"""The states of a version, as TF Serving names them."""

import dataclasses
import enum


class State(enum.Enum):
    """TF Serving's `ModelVersionStatus.State`. A version passes through them in this order."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """The state of a version. `error` says why its files on disk were refused; "" otherwise.

    AVAILABLE with an error: the files of a version changed and were refused, or newer rows of its user table were. The
    version then serves as it was loaded before.
    """

    version: int
    state: State
    error: str = ""
