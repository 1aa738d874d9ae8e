"""A clock for one module. Servers in other threads go on by the real one: with another, their event loops sleep."""

import time
import types


def set_clock(monkeypatch, module, **clocks):
    """Replaces clocks of `time` as a module reads them: `set_clock(monkeypatch, module, monotonic=lambda: 100.0)`."""
    monkeypatch.setattr(module, "time", types.SimpleNamespace(**{**vars(time), **clocks}))
