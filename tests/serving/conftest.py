import os
import shutil

import pytest

from tests.serving import history_export, shop_export, toy_export
from tfrs_twotower.online import open_stores
from tfrs_twotower.serving import Limits, Server

LIMITS = Limits(max_batch=8, max_k=5, max_width=6, max_body_bytes=4096)


@pytest.fixture(scope="session")
def publish(tmp_path_factory):
    """publish(root, version): puts a toy export under `root` in one step and returns its path."""
    made = tmp_path_factory.mktemp("made")

    def publish(root, version):
        if not (made / str(version)).exists():
            toy_export.write(made, version)
        aside, path = root / f".tmp-{version}", root / str(version)
        shutil.copytree(made / str(version), aside)
        os.rename(aside, path)
        return path

    return publish


@pytest.fixture(scope="session")
def server(tmp_path_factory, publish):
    """A server of version 3 with small limits."""
    root = tmp_path_factory.mktemp("exports")
    publish(root, 3)
    with Server(root, name="toy", rest_port=0, grpc_port=0, limits=LIMITS, poll_seconds=60) as server:
        yield server


@pytest.fixture(scope="session")
def history_root(tmp_path_factory):
    """An export root with version 1 of `history_export`."""
    root = tmp_path_factory.mktemp("history_exports")
    history_export.write(root, 1)
    return root


@pytest.fixture(scope="session")
def shop_root(tmp_path_factory):
    """An export root with version 1 of `shop_export`."""
    root = tmp_path_factory.mktemp("shop_exports")
    shop_export.write(root, 1)
    return root


@pytest.fixture
def stores(tmp_path):
    """Empty `Stores` in a file."""
    stores = open_stores(f"sqlite:{tmp_path}/store.db")
    yield stores
    stores.close()
