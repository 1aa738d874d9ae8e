import pytest
from tests.serving import toy_export

from tfrs_twotower.serving import Limits, Server

LIMITS = Limits(max_batch=8, max_k=5, max_width=6, max_body_bytes=4096)


@pytest.fixture(scope="session")
def export_root(tmp_path_factory):
    """A root with version 3, warm-up requests included. Read only."""
    root = tmp_path_factory.mktemp("exports")
    toy_export.write(root, 3)
    return root


@pytest.fixture(scope="session")
def server(export_root):
    """A server of `export_root` with small limits."""
    with Server(export_root, name="toy", rest_port=0, grpc_port=0, limits=LIMITS, poll_seconds=60) as server:
        yield server
