"""Stores that are opened when they answer."""

import pytest
from clocks import set_clock

from tfrs_twotower.online import StoreError, StoreUnavailable
from tfrs_twotower.online import late as late_module
from tfrs_twotower.online.late import Late


def test_it_is_opened_at_most_once_a_second_whatever_the_error(monkeypatch):
    errors, now = [StoreUnavailable("away"), StoreError("would lose events"), StoreError("still"), None], [0.0]

    def opened():
        if error := errors.pop(0):
            raise error
        return "store"

    set_clock(monkeypatch, late_module, monotonic=lambda: now[0])
    late = Late(opened)
    with pytest.raises(StoreUnavailable, match="away"):
        late.get()
    now[0] = 2
    with pytest.raises(StoreError, match="would lose events"):
        late.get()
    with pytest.raises(StoreUnavailable, match="would lose events"):  # not opened again
        late.get()
    now[0] = 4
    with pytest.raises(StoreError, match="still"):
        late.get()
    now[0] = 6
    assert late.get() == "store"
