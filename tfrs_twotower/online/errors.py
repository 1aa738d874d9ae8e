"""The errors of stores."""

from tfrs_twotower.errors import TwoTowerError


class StoreError(TwoTowerError, RuntimeError):
    """A store cannot be opened, read or written, or would not keep what it acknowledges."""
