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


@pytest.fixture(autouse=True)
def _seeds():
    """Every test starts from the same global seeds, whichever tests ran before it."""
    random.seed(0)
    np.random.seed(0)
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
