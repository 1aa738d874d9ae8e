"""What a request can be refused for. Each kind has one gRPC status and one HTTP status."""

from tfrs_twotower.errors import TwoTowerError

RETRY_SECONDS = 1  # after which an overloaded server may be asked again


class ServingError(TwoTowerError):
    """Base: a failure of the server itself."""

    code = "INTERNAL"
    http = 500


class InvalidArgument(ServingError, ValueError):
    """The request is wrong: a name, a type, a rank, a value, or its JSON."""

    code = "INVALID_ARGUMENT"
    http = 400


class NotFound(ServingError, LookupError):
    """No such model, version or signature."""

    code = "NOT_FOUND"
    http = 404


class Unauthenticated(ServingError):
    """The request carries no key, or not one that the server knows."""

    code = "UNAUTHENTICATED"
    http = 401


class ResourceExhausted(ServingError):
    """The request is larger than the server's limits. Not 429: sending it again later cannot help."""

    code = "RESOURCE_EXHAUSTED"
    http = 413


class Overloaded(ServingError):
    """Too many requests wait. The same request can be sent again after `RETRY_SECONDS`."""

    code = "RESOURCE_EXHAUSTED"
    http = 429


class DeadlineExceeded(ServingError):
    """The request waited for its turn until its deadline."""

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
    """A method of TF Serving's API that this server does not have, or something that it was started without: the
    message names the option. Not 503, after which callers try again."""

    code = "UNIMPLEMENTED"
    http = 501


class Unavailable(ServingError):
    """Nothing is loaded yet, or the server is stopping."""

    code = "UNAVAILABLE"
    http = 503


class CannotServe(TwoTowerError, OSError):
    """The server cannot start: a port, an address or the folder is not to be had."""


class VersionRefused(TwoTowerError):
    """A version directory is incomplete, damaged, or needs what is not installed."""
