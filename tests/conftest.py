"""What all tests share. The package is imported before anything can import TensorFlow with Keras 3."""

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest

import tfrs_twotower  # noqa: F401

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))  # so that tests in folders find the helpers beside this file

# What takes longest. Begun last, one of them would keep a process busy while the other has nothing left to do.
LONG = (
    "test_notebooks.py", "test_systems.py", "test_export.py", "test_cli.py", "test_full_update.py", "test_fit.py",
    "test_distribution.py", "test_chaos.py", "test_auxiliary.py", "test_youtube_and_facebook.py",
)


def pytest_collection_modifyitems(items):
    """The long files first, in the order of `LONG`; the others stay as they are."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(autouse=True)
def _seeds():
    """Every test starts from the same global seeds, whichever tests ran before it."""
    random.seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True, scope="module")
def _tensorflow_seed():
    """Every file, not every test: setting it, TensorFlow forgets all that it compiled, and compiles it again."""
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(0)


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data sets beside the checkout; where it is missing, the test is skipped."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the folder ../shared/data with real data sets, which is not here")
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A recommender trained on planted data. Tests read it; who changes it trains their own (`toy.train`)."""
    import toy

    return toy.train(tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture(scope="session")
def _redis_server():
    import redis_server

    with redis_server.running() as server:
        yield server


@pytest.fixture
def redis(_redis_server):
    """A `redis_server.RedisServer`, empty and durable. Who kills it starts their own."""
    _redis_server.client.flushall()
    return _redis_server
