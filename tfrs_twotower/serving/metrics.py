"""The server's metrics, for Prometheus."""

import contextlib
import contextvars
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from tfrs_twotower import extras
from tfrs_twotower.serving import logs
from tfrs_twotower.serving.errors import ServingError
from tfrs_twotower.serving.version_status import State, VersionStatus

prometheus = extras.require("prometheus_client")

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own name
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
REFUSALS = (
    "queue_full", "deadline", "stopping", "connections", "slow", "unauthenticated", "cross_site", "headers", "bodies",
)


PARTIAL = "x-twotower-partial"  # the header of an answer that lacks shards of the index


class Call:
    """A request that is being counted. Set `signature` when it is known to exist: an unknown name must not be a label.

    Attributes:
      request_id: the id by which the caller knows the request.
      version: the version that answered, or None.
      pause: a function to call before each block of a large request.
      missing: the shards of the index, as "2/4", without which the answer was made.
      arm: of the experiment that the request belongs to; "" without one.
      unavailable: the error of a store or cache that did not answer this request; None: all did.
    """

    signature = ""
    version: int | None = None
    arm = ""
    unavailable: Exception | None = None

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.pause: Callable[[], None] = lambda: None
        self.missing: set[str] = set()
        self.begin()

    def lacks(self, shards: Sequence[str]) -> None:
        """Notes shards that did not answer."""
        self.missing.update(shards)

    def partial(self) -> tuple[tuple[str, str], ...]:
        """The header of an answer that lacks shards; () if it lacks none."""
        return ((PARTIAL, " ".join(sorted(self.missing))),) if self.missing else ()

    def begin(self) -> None:
        """Starts the clock of the request. Call it when the whole request has arrived."""
        self.start = time.perf_counter()


_current: contextvars.ContextVar[Call] = contextvars.ContextVar("call")


def current() -> Call:
    """The request that this thread answers; one that nobody reads, outside of a request."""
    return _current.get(Call(""))


class Metrics:
    """Counters of one server. `method` is for example "rest:predict" or "grpc:Predict".

    Args:
      of_several: whether a scrape gets the figures of all processes that answer on the same ports. They keep them in
        the files of a folder, which the variable PROMETHEUS_MULTIPROC_DIR names.
    """

    def __init__(self, of_several: bool = False) -> None:
        self._of_several = of_several
        self._newest, self._inside = 0, threading.local()  # per thread: seconds of the inner parts
        self._registry = prometheus.CollectorRegistry()
        kinds = (prometheus.Counter, prometheus.Gauge, functools.partial(prometheus.Histogram, buckets=_SECONDS))
        counter, gauge, histogram = (functools.partial(kind, registry=self._registry) for kind in kinds)
        self._requests = counter("twotower_requests", "Requests by outcome", ["method", "signature", "status"])
        self._seconds = histogram(
            "twotower_request_seconds", "Time from the whole body to the answer, the wait in the queue too",
            ["method", "signature"],
        )
        self._in_flight = gauge(
            "twotower_requests_in_flight", "Requests being answered", multiprocess_mode="livesum"
        )
        self._version = gauge(
            "twotower_model_version", "Newest version that serves; 0 before the first", multiprocess_mode="livemax"
        )
        self._loads = counter("twotower_model_loads", "Versions loaded or refused", ["result"])
        for result in ("available", "refused"):
            self._loads.labels(result)
        self._stages = histogram(
            "twotower_stage_seconds",
            "Time of a part of a request, without the parts inside it: features (from the stores), model (tower and "
            "search in one step; tower and search if vectors are cached), channels (proposals without these), filter "
            "(business rules: seen items, allow and deny, places, diversity), log (until the answer is on disk)",
            ["stage"],
        )
        self._lookups = counter(
            "twotower_vector_cache_lookups", "Lookups of query vectors in the cache; hit rate = hit / (hit + miss)",
            ["result"],
        )
        self._events = counter("twotower_events", "Events recorded, and events that were recorded before", ["result"])
        self._answers = counter("twotower_answers", "Answers kept in the log, and answers that it lost", ["result"])
        self._items = counter(
            "twotower_item_events", "Items that were changed or withdrawn, and entries of a stream that were rejected",
            ["result"],
        )
        self._arms = counter(
            "twotower_arm_answers", "Answers of each arm of an experiment; unavailable: another version answered, "
            "outside of the experiment; dropped and failed: of shadow arms", ["arm", "result"],
        )
        self._failures = counter("twotower_store_failures", "Times that a store or the cache failed", ["what"])
        self._degraded = gauge(
            "twotower_degraded", "1 while a part fails: store, profiles, cache, items, answers, or a channel", ["part"],
            multiprocess_mode="livemax",
        )
        self._waits = histogram("twotower_queue_seconds", "Time that a request waited for its turn", ["queue"])
        self._queue = gauge(
            "twotower_queue_length", "Requests that wait for their turn", ["queue"], multiprocess_mode="livesum"
        )
        self._refusals = counter(
            "twotower_refusals", "Requests refused by limits, a missing key or a stop", ["reason"]
        )
        for reason in REFUSALS:
            self._refusals.labels(reason)
        self._partial = counter("twotower_partial_answers", "Answers without a shard of the index that failed")
        self._shards = counter("twotower_shard_failures", "Answers that lack this shard of the index", ["shard"])

    @contextlib.contextmanager
    def call(self, method: str, request_id: str = "") -> Iterator[Call]:
        """Counts, times and logs the block as one request. A `ServingError` inside it sets the status."""
        call, status = Call(request_id), "OK"
        self._in_flight.inc()
        token = _current.set(call)
        try:
            yield call
        except ServingError as error:
            status = error.code
            raise
        except BaseException:
            status = ServingError.code
            raise
        finally:
            _current.reset(token)
            seconds = time.perf_counter() - call.start
            self._in_flight.dec()
            self._partial.inc(bool(call.missing))
            for shard in call.missing:
                self._shards.labels(shard).inc()
            self._requests.labels(method, call.signature, status).inc()
            self._seconds.labels(method, call.signature).observe(seconds)
            logs.tell(method, call, status, seconds)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times the block as one part of a request, without the time of the parts inside it."""
        outside = getattr(self._inside, "seconds", 0.0)
        self._inside.seconds, start = 0.0, time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            self._stages.labels(name).observe(seconds - self._inside.seconds)
            self._inside.seconds = outside + seconds

    def stages(self) -> dict[str, list[float]]:
        """{stage: [how often it ran, its seconds in all]} since the start."""
        found: dict[str, list[float]] = {}
        for sample in (sample for family in self._stages.collect() for sample in family.samples):
            for at, end in enumerate(("_count", "_sum")):
                if sample.name.endswith(end):
                    found.setdefault(sample.labels["stage"], [0.0, 0.0])[at] = sample.value
        return found

    def looked_up(self, hits: int, misses: int) -> None:
        """Counts lookups of query vectors."""
        self._lookups.labels("hit").inc(hits)
        self._lookups.labels("miss").inc(misses)

    def recorded(self, new: int, known: int) -> None:
        """Counts events."""
        self._events.labels("new").inc(new)
        self._events.labels("known").inc(known)

    def answered(self, kept: int, lost: int) -> None:
        """Counts answers that the log kept or lost."""
        self._answers.labels("kept").inc(kept)
        self._answers.labels("lost").inc(lost)

    def items_changed(self, changed: int, withdrawn: int) -> None:
        """Counts item events."""
        self._items.labels("changed").inc(changed)
        self._items.labels("withdrawn").inc(withdrawn)

    def items_rejected(self, count: int) -> None:
        """Counts entries of a stream that were no item events."""
        self._items.labels("rejected").inc(count)

    def armed(self, arm: str, result: str) -> None:
        """Counts an answer of an arm: "answered", "unavailable", "dropped" or "failed"."""
        self._arms.labels(arm, result).inc()

    def store_failed(self, what: str) -> None:
        """Counts a failure: "read", "append", "cache", "items" or "answers"."""
        self._failures.labels(what).inc()

    def degraded(self, part: str, degraded: bool) -> None:
        """Sets whether a part fails; see `Health`."""
        self._degraded.labels(part).set(degraded)

    def queued(self, queue: str, length: int) -> None:
        """Sets the number of requests that wait in a queue."""
        self._queue.labels(queue).set(length)

    def waited(self, queue: str, seconds: float) -> None:
        """Records how long a request waited for its turn."""
        self._waits.labels(queue).observe(seconds)

    def refused(self, reason: str) -> None:
        """Counts a request that was refused; `reason` is one of `REFUSALS`."""
        self._refusals.labels(reason).inc()

    def version_changed(self, status: VersionStatus) -> None:
        """Records a `VersionStatus` of the repository."""
        if status.error:
            self._loads.labels("refused").inc()
        elif status.state is State.AVAILABLE:
            self._loads.labels("available").inc()
            self._newest = max(status.version, self._newest)
            self._version.set(self._newest)

    def text(self) -> tuple[bytes, str]:
        """The body and the content type of a scrape."""
        registry = self._registry
        if self._of_several:
            registry = prometheus.CollectorRegistry()
            extras.require("prometheus_client.multiprocess").MultiProcessCollector(registry, os.environ[FOLDER])
        return prometheus.generate_latest(registry), prometheus.CONTENT_TYPE_LATEST
