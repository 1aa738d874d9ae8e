"""The errors of a server. Each class has one gRPC status and one HTTP status."""

from tfrs_twotower.errors import TwoTowerError

RETRY_SECONDS = 1  # a client may send a request again after this time, if the server was overloaded
LATE = "The turn of this request did not come within {} s. Send it again in a while."
PUSHBACK = ("grpc-retry-pushback-ms", str(1000 * RETRY_SECONDS))  # the same, as metadata of a gRPC call


class ServingError(TwoTowerError):
    """A failure of the server itself; the base of the other classes."""

    code = "INTERNAL"
    http = 500


class InvalidArgument(ServingError, ValueError):
    """The request is wrong: a name, a type, a rank, a value, or its JSON."""

    code = "INVALID_ARGUMENT"
    http = 400


class NotFound(ServingError, LookupError):
    """The model, version or signature does not exist."""

    code = "NOT_FOUND"
    http = 404


class FailedPrecondition(ServingError):
    """The request is right, and this server cannot answer it: it has another export than the caller."""

    code = "FAILED_PRECONDITION"
    http = 412


class Unauthenticated(ServingError):
    """The request carries no key, or an unknown one."""

    code = "UNAUTHENTICATED"
    http = 401


class PermissionDenied(ServingError):
    """Whoever sends it may not ask for this."""

    code = "PERMISSION_DENIED"
    http = 403


class ResourceExhausted(ServingError):
    """The request is larger than the server's limits. The status is not 429, as sending it again later cannot help."""

    code = "RESOURCE_EXHAUSTED"
    http = 413


class Overloaded(ServingError):
    """Too many requests wait. The same request can be sent again after `RETRY_SECONDS`."""

    code = "RESOURCE_EXHAUSTED"
    http = 429


class DeadlineExceeded(ServingError):
    """The turn of the request did not come in time, or the request ran too long."""

    code = "DEADLINE_EXCEEDED"
    http = 504


class SlowBody(ServingError):
    """The body of the request did not arrive in time."""

    code = "DEADLINE_EXCEEDED"
    http = 408


class Cancelled(ServingError):
    """The client went away before its request was whole."""

    code = "CANCELLED"
    http = 499


class Unimplemented(ServingError):
    """The server lacks this method of TF Serving's API, or was started without this ability; the message then names the
    option. The status is not 503, as callers would try again."""

    code = "UNIMPLEMENTED"
    http = 501


class Unavailable(ServingError):
    """No version is loaded yet, the server is stopping, or a store fails."""

    code = "UNAVAILABLE"
    http = 503


class CannotServe(TwoTowerError, OSError):
    """The server cannot start, because a port, an address, a key file, a certificate or the folder cannot be used."""


class VersionRefused(TwoTowerError):
    """A version directory is incomplete or damaged, or needs a library that is not installed."""
