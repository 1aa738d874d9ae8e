"""One process that serves one model over REST and gRPC."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tfrs_twotower.channels import Channel, Shares
from tfrs_twotower.errors import ConfigError, ExportError, invalid
from tfrs_twotower.experiments import Arms
from tfrs_twotower.exporting import Key, manifest
from tfrs_twotower.exporting.publishing import versions_under
from tfrs_twotower.index import IndexKind
from tfrs_twotower.online import AnswerLog, StoreError, Stores, UserVectorCache
from tfrs_twotower.online.stream_consumer import Stream
from tfrs_twotower.serving.access import Access
from tfrs_twotower.serving.admission import Admission, Load, Queues, half_of_processors
from tfrs_twotower.serving.answer_recorder import AnswerRecorder
from tfrs_twotower.serving.cached_tower import CachedTower
from tfrs_twotower.serving.connections import Connections
from tfrs_twotower.serving.current_items import ItemChanges
from tfrs_twotower.serving.endpoints import Endpoint, make_endpoints
from tfrs_twotower.serving.errors import CannotServe
from tfrs_twotower.serving.experiment import Experiment, Lane
from tfrs_twotower.serving.features import Features
from tfrs_twotower.serving.fresh_answers import FreshAnswers
from tfrs_twotower.serving.grpc_service import add_services
from tfrs_twotower.serving.health import Health
from tfrs_twotower.serving.item_stream import ItemStream
from tfrs_twotower.serving.limits import Limits
from tfrs_twotower.serving.metrics import Metrics
from tfrs_twotower.serving.model import LoadedModel, call
from tfrs_twotower.serving.outside_index import outside_kind
from tfrs_twotower.serving.page import OPEN_PATHS, Page, PageAnswers, check_origin
from tfrs_twotower.serving.ports import Ports
from tfrs_twotower.serving.predictor import Predictor
from tfrs_twotower.serving.recommend import BUILTIN, Recommendations
from tfrs_twotower.serving.repository import Repository
from tfrs_twotower.serving.rest import Rest
from tfrs_twotower.serving.shard import Shard

_DEFAULT_NAME = "twotower"
_TRIM_SECONDS = 3600.0
_CACHED_SECONDS = 60  # a cached vector stays valid for up to this time, although the request's time changes

_log = logging.getLogger(__name__)


class Server:
    """Serves `root` until `stop`. A context manager.

    Without `access`, any client that can connect may send requests, and connections are not encrypted.

    Args:
      root: the folder of the version folders. It must exist; it may be empty at first.
      name: the model's name in URLs and model specs. The default is the `model` of the newest manifest when the server
        starts, or "twotower" if there is none.
      host: the address to listen on.
      rest_port, grpc_port: 0 takes any free port; the attributes then hold the real ports.
      limits: a `Limits`.
      poll_seconds: the time between two looks for a new version.
      keep: the number of versions to serve.
      drain_seconds: how long `stop` waits for requests that run or wait.
      load: a `Load` for predictions: how many run, how many wait, and how long.
      event_load: a `Load` for the recording of events and items, which has its own queue.
      access: an `Access`: API keys and TLS.
      connections: a `Connections`: the limits on connections.
      stores: `online.Stores` with the users' histories and profiles. With them a request needs a `user_id` alone, and
        events can be recorded. Events past their retention are removed every hour. The caller closes the stores. None:
        requests must carry all features.
      cold_beta: the `popularity_beta` of users without a history; see `Features`.
      cache: a `UserVectorCache`, or None. With one, the server rounds the time of a request down to the minute. If the
        model reads the time, a user's vector is then valid for a minute.
      fresh: `ItemChanges`, for example `freshness.FreshItems`, or None. With it, items can be changed and withdrawn
        while the server runs, and versions that cannot take changes in are refused. The caller closes it.
      index: the kind of an index outside the SavedModel for each version, for example "faiss_hnsw" or
        "milvus:ADDRESS". An export without an index of that kind gets one when it is loaded. "shards:HOST:PORT,…"
        asks the servers of an export's shards. None: the export's own index.
      shard: the part of the export's index, as "1/4", that this server holds in place of the model; it answers the
        searches of a server with `index="shards:…"`, and nothing else.
      verify_key: the `exporting.Key` that has to have signed what is served, as versions of the model `name`; see
        `Repository`. None: no signature is needed.
      channels: further `channels.Channel`s of /v1/recommend. One with the name of a built-in channel replaces it.
      answer_log: an `online.AnswerLog` that keeps each answer that consists of items, or None. The caller closes it.
      newcomers: the `channels.Shares` of /v1/recommend: places for users of few events. None: as for all users.
      arms: `experiments.Arms`: each user is answered by an arm; None: no experiment.
      item_stream: an `online` `Stream` of item changes, which go to `fresh`; None: they come by requests alone. The
        server closes it.
      page: whether there is a page at / that shows what the server answers. None: on a loopback address alone. Where
        requests need a key, so does the page's data.
      processes: the number of processes like this one that answer on the same ports; each takes its part of the
        processors. 1: no other process may open the ports. More: neither port may be 0.
      page_images: the origin from which the page may load the items' pictures, such as "https://cdn.example"; "": none.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        name: str | None = None,
        host: str = "127.0.0.1",
        rest_port: int = 8501,
        grpc_port: int = 8500,
        limits: Limits = Limits(),
        poll_seconds: float = 1.0,
        keep: int = 1,
        drain_seconds: float = 10.0,
        stores: Stores | None = None,
        cold_beta: float = 0.0,
        cache: UserVectorCache | None = None,
        load: Load = Load(),
        event_load: Load = Load(),
        access: Access = Access(),
        connections: Connections = Connections(),
        fresh: ItemChanges | None = None,
        channels: Iterable[Channel] = (),
        newcomers: Shares | None = None,
        index: str | IndexKind | None = None,
        shard: str | None = None,
        verify_key: Key | None = None,
        answer_log: AnswerLog | None = None,
        arms: Arms | None = None,
        item_stream: Stream | None = None,
        page: bool | None = None,
        page_images: str = "",
        processes: int = 1,
    ) -> None:
        self.name: str = name  # type: ignore[assignment]  # None until `start` names it
        self.host = host
        self.rest_port = rest_port
        self.grpc_port = grpc_port
        self.metrics = Metrics(processes > 1)
        part = None if shard is None else Shard.read(shard)
        if part is not None:
            if any(given is not None for given in (stores, cache, fresh, index, answer_log, arms, item_stream)):
                raise ConfigError(f"A server of shard {shard} only searches its part. Give stores, cache, fresh, "
                                  "index, answer_log, arms and item_stream to the server in front of the shards.")
            keep, limits = max(keep, 2), limits.of_searches()
        self.health = Health(self.metrics)
        stores, cache, fresh, channels = self.health.watched_all(stores, cache, fresh, channels)
        if answer_log is not None:
            answer_log = self.health.watched("answers", answer_log, answer_log.check, ("record", "saw"))
        self._answers = AnswerRecorder(answer_log, self.metrics, limits.max_events, limits.max_k)
        tower = None if cache is None else CachedTower(cache, self.metrics)
        warm_up, run = (tower.call, tower.call) if tower else (call, self.metrics.stage("model")(call))
        if fresh is not None:
            warm_up, run = FreshAnswers(fresh, warm_up).call, FreshAnswers(fresh, run).call
        step = 1 if cache is None else _CACHED_SECONDS
        features = None if stores is None else Features(stores, self.metrics, step, cold_beta)
        kind, channels = None if index is None else outside_kind(index), tuple(channels)
        at_a_time = half_of_processors(processes)

        def lane(root: str | os.PathLike[str], keep: int, on_status: Callable, only: int | None = None) -> Lane:
            repository = Repository(
                root, keep, poll_seconds, on_status, warm_up, fresh, self._warm, kind, verify_key, part, name, only)
            predictor = Predictor(repository, limits, features, run, self._answers, at_a_time)
            return Lane(predictor, Recommendations(
                predictor, self.metrics, stores, fresh, channels, newcomers, self._answers))

        main = lane(root, keep, self.metrics.version_changed)
        self.predictor, self.repository = main.predictor, main.predictor.repository
        self._experiment = None if arms is None else Experiment(arms, main, {
            arm.name: lane(arm.root or root, 1, lambda status: None, arm.version) for arm in arms.arms if arm.is_apart
        }, self.metrics)
        self._queues = Queues(
            Admission(load, "predictions", self.metrics, at_a_time),
            Admission(event_load, "events", self.metrics, at_a_time),
        )
        recommend = (self._experiment or main.recommendations).recommend
        self._endpoints = make_endpoints(
            self.predictor, self._queues, self.metrics,
            Endpoint(recommend, self._queues.predictions, main.recommendations.warm), self._answers, stores, fresh,
        )
        self._item_stream = None
        if item_stream is not None:
            self._item_stream = ItemStream(item_stream, self._endpoints["items"].answer, self.metrics)
        self._page, self._page_images = page if part is None else False, check_origin(page_images)
        self._page_answers = PageAnswers(
            self.predictor, self.metrics, stores, fresh,
            [*dict.fromkeys([*BUILTIN, *(channel.name for channel in channels)])], self.health.degraded,
        )
        self._drain_seconds, self._connections, self._shares_ports = drain_seconds, connections, processes > 1
        self._ports = Ports(host, rest_port, grpc_port, access, connections, self.metrics, self._shares_ports)
        self._stores = stores
        self._verify_key = verify_key
        self._stopping = threading.Event()

    def start(self) -> None:
        """Opens the ports, loads the versions in the folder, then answers requests. Shared ports are opened last.

        Raises:
          CannotServe: the folder does not exist, a port is taken or out of range, the host is unknown, other machines
            could send requests without a key, or a file of keys or a certificate cannot be used.
        """
        if not os.path.isdir(self.repository.root):
            way_out = "Export first (`twotower train` does), or name the folder that holds the version folders."
            raise CannotServe(invalid("root", "be a folder", self.repository.root, way_out))
        with contextlib.ExitStack() as undo:  # if a step raises, no port stays taken and no thread stays
            undo.callback(self.health.close)
            self.health.start()
            undo.callback(self.repository.close)
            if self._shares_ports:  # a process gets connections as soon as it has opened them
                self.repository.start()
            waiting = sum(queue.load.concurrency + queue.load.queue for queue in self._queues)
            self._ports.open(undo, waiting, self.predictor.limits.max_body_bytes)
            self.rest_port, self.grpc_port = self._ports.rest_port, self._ports.grpc_port
            if not self._shares_ports:
                self.repository.start()
            if self._experiment is not None:
                undo.callback(self._experiment.stop)
                self._experiment.start()
            self.name = self.name or self._manifest_name()
            add_services(
                self._ports.grpc, self.predictor, self._endpoints, self.name, self.metrics, self._queues,
                self._experiment.predict if self._experiment else None,
            )
            self._rest = self._make_rest()
            undo.pop_all()
        self._ports.start()
        if self._item_stream is not None:
            self._item_stream.start()
        if self._stores is not None and self._stores.retention.seconds is not None:
            threading.Thread(target=self._trim, name="trim", daemon=True).start()

    def stop(self) -> int:
        """Refuses new requests, lets requests that run or wait finish, closes the ports and unloads the versions.

        The server listens until they have finished: /readyz and new requests are answered with 503, so that a load
        balancer learns from an answer that the server stops.

        Returns:
          The number of requests that had not finished after `drain_seconds`; they are cut off.
        """
        self._stopping.set()
        for queue in self._queues:
            queue.close()
        deadline = time.monotonic() + self._drain_seconds
        left = sum(queue.drain(deadline - time.monotonic()) for queue in self._queues)
        if left:
            _log.error("%d requests did not finish within %g s", left, self._drain_seconds)
        self._ports.close()
        self._rest.close()
        if self._item_stream is not None:
            self._item_stream.stop()
        if self._experiment is not None:
            self._experiment.stop()
        self.repository.close()
        self.health.close()
        return left

    def ready(self) -> bool:
        """True while requests can be answered."""
        return not self._stopping.is_set() and bool(self.repository.available())

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _warm(self, model: LoadedModel) -> None:
        for endpoint in self._endpoints.values():
            endpoint.warm(model)

    def _trim(self) -> None:
        """Removes old events every hour. Redis drops the histories of inactive users by itself; a file does not."""
        while not self._stopping.wait(_TRIM_SECONDS):
            try:
                self._stores.history.trim()
            except StoreError as error:
                _log.error("Old events stay for another hour: %s", error)

    def _manifest_name(self) -> str:
        if self.repository.available():
            with self.repository.lease() as model:
                return model.manifest.get("model", _DEFAULT_NAME)
        # Refused for now: a front may start before its shards.
        return name_of(self.repository.root, self._verify_key)

    @property
    def has_page(self) -> bool:
        """Is there a page at /? Known after `start`."""
        return self._ports.loopback if self._page is None else self._page

    def _make_rest(self) -> Rest:
        page = None
        if self.has_page:
            page = Page(
                self._page_answers, self.name, self._ports.keys is not None, self._page_images, self._page is None
            )
        rest = Rest(
            self.predictor, self._endpoints, self.name, self.metrics, self.ready, self._queues,
            self._connections, self.health.degraded, self._experiment.predict if self._experiment else None, page,
        )
        self._ports.answer(rest.app(), OPEN_PATHS if page else ())
        return rest


def name_of(root: str | Path, key: Key | None = None) -> str:
    """The `model` of the newest version under `root` whose manifest can be read, and is signed by the `key` if there is
    one; "twotower" if there is none."""
    for version in reversed(versions_under(root)):
        with contextlib.suppress(ExportError):
            return manifest.read(os.path.join(root, str(version)), key).get("model", _DEFAULT_NAME)
    return _DEFAULT_NAME
