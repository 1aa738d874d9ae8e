"""While TensorFlow is imported, Python looks for no garbage, and what was imported is not looked at again."""

import gc
import sys

import pytest

from tfrs_twotower.cli.importing import importing


@pytest.fixture
def frozen(monkeypatch):
    """Whether the collector was on in each call of `gc.freeze`, which does nothing here."""
    found = []
    monkeypatch.setattr(gc, "freeze", lambda: found.append(gc.isenabled()))
    return found


def test_the_collector_rests_in_the_block_and_passes_over_what_that_made(frozen, monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    with importing():
        assert not gc.isenabled() and not frozen
    assert frozen == [False] and gc.isenabled()
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()


def test_where_tensorflow_is_imported_or_the_collector_is_off_nothing_changes(frozen, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    with importing():
        assert gc.isenabled()
    monkeypatch.delitem(sys.modules, "tensorflow")
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert not frozen
