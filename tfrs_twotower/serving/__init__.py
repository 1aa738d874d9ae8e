"""A local server that speaks TF Serving's REST and gRPC.

`repository` follows a folder of versions. `admission` is the queue of requests. `predictor` checks and runs requests
and knows no transport. `rest` and `grpc_service` are the two transports. `server` puts them together.
"""

from tfrs_twotower.serving.access import Access
from tfrs_twotower.serving.admission import Load
from tfrs_twotower.serving.connections import Connections
from tfrs_twotower.serving.errors import (
    CannotServe,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    Overloaded,
    ResourceExhausted,
    ServingError,
    Unavailable,
    Unimplemented,
    VersionRefused,
)
from tfrs_twotower.serving.limits import Limits
from tfrs_twotower.serving.load_export import load_export
from tfrs_twotower.serving.predictor import Predictor
from tfrs_twotower.serving.process import serve
from tfrs_twotower.serving.processes import serve_in_processes, take_part
from tfrs_twotower.serving.repository import Repository
from tfrs_twotower.serving.server import Server, name_of
from tfrs_twotower.serving.shards import ShardsKind
from tfrs_twotower.serving.version_status import State, VersionStatus

__all__ = [
    "Access",
    "CannotServe",
    "Connections",
    "DeadlineExceeded",
    "InvalidArgument",
    "Limits",
    "Load",
    "NotFound",
    "Overloaded",
    "Predictor",
    "Repository",
    "ResourceExhausted",
    "Server",
    "ServingError",
    "ShardsKind",
    "State",
    "Unavailable",
    "Unimplemented",
    "VersionRefused",
    "VersionStatus",
    "load_export",
    "name_of",
    "serve",
    "serve_in_processes",
    "take_part",
]
