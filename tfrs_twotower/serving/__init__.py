"""A local server that speaks TF Serving's REST and gRPC.

`repository` follows a folder of versions, `predictor` checks and runs requests and knows no
transport, `rest` and `grpc_service` are the two transports, `server` puts them together.
"""

from tfrs_twotower.serving.errors import (
    CannotServe,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServingError,
    Unavailable,
    Unimplemented,
    VersionRefused,
)
from tfrs_twotower.serving.predictor import Limits, Predictor
from tfrs_twotower.serving.repository import Repository, State, VersionStatus
from tfrs_twotower.serving.server import Server, serve

__all__ = [
    "CannotServe",
    "InvalidArgument",
    "Limits",
    "NotFound",
    "Predictor",
    "Repository",
    "ResourceExhausted",
    "Server",
    "ServingError",
    "State",
    "Unavailable",
    "Unimplemented",
    "VersionRefused",
    "VersionStatus",
    "serve",
]
