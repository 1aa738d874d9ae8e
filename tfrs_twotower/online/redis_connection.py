"""A connection to a Redis server, and whether it keeps what it acknowledges."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tfrs_twotower import extras
from tfrs_twotower.durable import content
from tfrs_twotower.online.store_kind import StoreError, StoreUnavailable, without_password

if TYPE_CHECKING:
    from redis import Redis

redis = extras.require("redis")
_retry = extras.require("redis.retry")
_backoff = extras.require("redis.backoff")

PREFIX = "twotower"  # of every key

_ANSWER_SECONDS = 1.0  # a request waits no longer; the URL may say another limit: ?socket_timeout=5
_LOSES = (
    "A Redis that serves as the store of events must keep what it acknowledges, and {which} does not: {why}. "
    "Set `appendonly yes`, `appendfsync always` and `maxmemory-policy noeviction` there, or allow the loss "
    "(`--allow-loss`)."
)
_log = logging.getLogger(__name__)


def connect(url: str, ping: bool = True, blocks: float = 0.0, **settings: Any) -> "Redis":
    """A `redis.Redis` of a `redis://`, `rediss://` or `unix://` URL, which has answered a PING if `ping`.

    The password is that of the URL. If it has none, it is that of the environment: TWOTOWER_REDIS_PASSWORD, or the
    first line of the file that TWOTOWER_REDIS_PASSWORD_FILE names. Other users of a machine can read command lines.

    A command whose connection ends is tried once more, as all commands may be repeated. One that is not answered in a
    second is not: the server hangs. `blocks`: the seconds that a command may wait at the server besides.

    Raises:
      StoreError: the URL is wrong, or the file cannot be read.
      StoreUnavailable: nothing answers there.
    """
    with errors(url):
        try:
            if (password := _password()) is not None:
                settings["password"] = password  # that of a URL takes its place
            client = redis.Redis.from_url(
                url, socket_connect_timeout=_ANSWER_SECONDS, socket_timeout=_ANSWER_SECONDS,
                retry=_retry.Retry(_backoff.NoBackoff(), 1, (redis.ConnectionError,)), health_check_interval=30,
                **settings,
            )
        except ValueError as error:
            raise StoreError(f"The store's address cannot be read: {error}") from error
        client.connection_pool.connection_kwargs["socket_timeout"] += blocks  # also to the limit that a URL says
        if ping:
            client.ping()
    return client


def _password() -> str | None:
    path = os.environ.get("TWOTOWER_REDIS_PASSWORD_FILE")
    if not path:
        return os.environ.get("TWOTOWER_REDIS_PASSWORD") or None
    try:
        return content(path).decode().partition("\n")[0].strip() or None
    except (OSError, ValueError) as error:
        raise StoreError(f"TWOTOWER_REDIS_PASSWORD_FILE cannot be read: {error}. Name a file of one line.") from error


def check_durable(client: "Redis", url: str, allow_loss: bool = False) -> None:
    """Refuses a server that may lose what it acknowledged when it dies or runs out of memory.

    If the server does not tell its settings, a warning is logged.

    Raises:
      StoreError: it may lose events, and `allow_loss` is False.
    """
    with errors(url):
        try:
            settings = {**client.config_get("append*"), **client.config_get("maxmemory*")}
        except redis.ResponseError as error:
            _log.warning(
                "%s does not tell whether it keeps what it acknowledges (%s). See to it that it has `appendonly yes`, "
                "`appendfsync always` and `maxmemory-policy noeviction`.", without_password(url), error,
            )
            return
    wanted = {"appendonly": "yes", "appendfsync": "always"}
    if settings.get("maxmemory", "0") != "0":
        wanted["maxmemory-policy"] = "noeviction"
    if why := [f"{name} is {settings.get(name)}" for name, value in wanted.items() if settings.get(name) != value]:
        message = _LOSES.format(which=without_password(url), why=", ".join(why))
        if not allow_loss:
            raise StoreError(message)
        _log.warning("%s", message)


@contextlib.contextmanager
def errors(url: str) -> Iterator[None]:
    """Turns errors of redis-py into a `StoreError`, or a `StoreUnavailable`."""
    try:
        yield
    except redis.RedisError as error:
        refused = isinstance(error, (redis.AuthenticationError, redis.exceptions.AuthorizationError))
        away = isinstance(error, (redis.ConnectionError, redis.TimeoutError, redis.exceptions.ClusterDownError))
        full = str(error).startswith("MISCONF")  # it cannot write to its disk, and answers no PING
        raise (StoreUnavailable if (away or full) and not refused else StoreError)(
            f"The Redis server at {without_password(url)} fails: {str(error).rstrip('.')}."
        ) from error
