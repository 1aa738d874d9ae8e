"""The front of an index in shards: asks every shard's server at once, and merges what those that answer found."""

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower import extras
from tfrs_twotower.configuration import config, to_dict
from tfrs_twotower.errors import ConfigError, IndexingError, invalid
from tfrs_twotower.exporting import integrity, manifest
from tfrs_twotower.index import REMOTE, CandidateIndex, IndexKind, ShardedKind, TopK, best_of_parts, checks
from tfrs_twotower.ranges import Above
from tfrs_twotower.serving import tensor_protos
from tfrs_twotower.serving.errors import PUSHBACK
from tfrs_twotower.serving.guard import REQUEST_ID
from tfrs_twotower.serving.metrics import current
from tfrs_twotower.serving.shard import MANIFEST, QUERIES, SEARCH

if TYPE_CHECKING:
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

    from tfrs_twotower.index import IndexConfig

grpc = extras.require("grpc")
predict_pb2 = extras.require("tensorflow_serving.apis.predict_pb2")
prediction_service = extras.require("tensorflow_serving.apis.prediction_service_pb2_grpc")

KEY = "TWOTOWER_SHARDS_KEY"  # the environment variable with the API key of the shards' servers
_REST_SECONDS = 1.0  # a shard that failed is not asked for this time; then one request asks, and waits for it
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),  # bounded by the front's own limits on rows and k
    ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),  # otherwise a new version would wait with the old one to connect again
)
_ABSENT = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")  # statuses of a shard that is away or too busy

_log = logging.getLogger(__name__)


class _Remote:
    """A shard as the front sees it."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        self._channel = grpc.insecure_channel(address, _OPTIONS)
        self._stub = prediction_service.PredictionServiceStub(self._channel)
        self._rests_until, self._failed = 0.0, False

    def begin(self, request: "PredictRequest", seconds: float) -> Any:
        """The call's future, or None while the shard rests. Of a shard that failed, one request at a time finds out."""
        now = time.monotonic()
        if now < self._rests_until:
            return None
        if self._failed:
            self._rests_until = now + seconds + _REST_SECONDS
        key = os.environ.get(KEY)
        return self._stub.Predict.future(request, seconds, [("authorization", f"Bearer {key}")] if key else [])

    def end(self, future: Any) -> TopK | IndexingError | None:
        """The answer of a call, with rows of the whole; None if it failed, and then the shard rests.

        If the request itself is over the shard's limits, that is returned as an error: the shard answers others.
        """
        try:
            found = future.result().outputs
            answer = TopK(tensor_protos.to_array(found[c.SCORES]), tensor_protos.to_array(found[c.ROWS]))
        except (grpc.RpcError, grpc.FutureCancelledError, ValueError) as error:
            if _too_large(error):
                self._rests_until = 0.0  # it is there
                return IndexingError(f"Shard {self.name} at {self.address} refuses the search: {_said(error)}")
            self._rests_until = time.monotonic() + _REST_SECONDS
            if not self._failed:
                _log.error("Shard %s at %s is left out: %s", self.name, self.address, _said(error))
            self._failed = True
            return None
        if self._failed:
            _log.info("Shard %s at %s answers again", self.name, self.address)
        self._failed, self._rests_until = False, 0.0
        return answer

    def __del__(self) -> None:
        self._channel.close()


class Shards:
    """A `CandidateIndex`, NumPy in and out, over the shards' servers. `ShardsKind` makes it for one version."""

    exact = False

    def __init__(
        self, addresses: Sequence[str], said: Mapping[str, Any], identity: str, dim: int, seconds: float
    ) -> None:
        self._remotes = [_Remote(f"{i}/{len(addresses)}", address) for i, address in enumerate(addresses, 1)]
        self._model, self._version, self._identity = said.get("model", "twotower"), int(said["version"]), identity
        self.size, self.dim, self._seconds = int(said["catalogue"]["items"]), dim, seconds

    def search(self, queries: np.ndarray, k: int) -> TopK:
        """See `CandidateIndex.search`. Shards that do not answer are told to the request, by `metrics.current`.

        Raises:
          IndexingError: no shard answers, one of them refuses so large a search, or the queries are not finite.
        """
        queries = checks.query_matrix(queries, self.dim)  # a query that all shards refuse must not put them to rest
        request = self._request(queries, k)
        calls = [remote.begin(request, self._seconds) for remote in self._remotes]
        answers = [call and remote.end(call) for remote, call in zip(self._remotes, calls)]
        if refused := [answer for answer in answers if isinstance(answer, IndexingError)]:
            raise refused[0]  # what the others found would lack the best items of this one, each time
        missing = [remote.name for remote, answer in zip(self._remotes, answers) if answer is None]
        if len(missing) == len(answers):
            raise IndexingError(f"No shard of version {self._version} answers. Look at their servers' logs.")
        if missing:
            current().lacks(missing)
        return best_of_parts([answer for answer in answers if isinstance(answer, TopK)], k)

    def check(self) -> None:
        """Raises `IndexingError` if no shard answers, or one that answers does not have this version."""
        request, away = self._request(np.zeros([1, self.dim], np.float32), 1), []
        for remote, call in [(remote, remote.begin(request, self._seconds)) for remote in self._remotes]:
            error = call.exception()
            if error is None:
                continue
            if not isinstance(error, grpc.RpcError) or error.code().name not in _ABSENT:
                where = f"Shard {remote.name} at {remote.address}"
                raise IndexingError(f"{where} does not serve this version: {_said(error)}")
            away.append(remote.name)
        if len(away) == len(self._remotes):
            raise IndexingError(f"No shard answers. Start them: twotower serve EXPORT --shard 1/{len(away)} ….")
        if away:
            _log.error("The shards %s do not answer; version %d begins without them", away, self._version)

    def settings(self) -> dict[str, Any]:
        """See `CandidateIndex.settings`."""
        addresses = [remote.address for remote in self._remotes]
        return {"kind": "shards", "size": self.size, "dim": self.dim, "addresses": addresses}

    def _request(self, queries: np.ndarray, k: int) -> "PredictRequest":
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self._model, SEARCH
        request.model_spec.version.value = self._version
        inputs = {QUERIES: np.asarray(queries, np.float32), c.K: np.int32(k), MANIFEST: self._identity}
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        return request


@config
class ShardsKind(IndexKind):
    """"shards:HOST:PORT,HOST:PORT": the index of an export in shards, which other servers hold.

    addresses: of the shards' gRPC ports, in their order. seconds: how long a shard may take to answer.
    """

    name, place = "shards", REMOTE
    addresses: tuple[str, ...] = ()
    seconds: Annotated[float, Above(0)] = 1.0

    def __post_init__(self) -> None:
        if not self.addresses or not all(re.fullmatch(r"[^\s,/]+:[0-9]{1,5}", address) for address in self.addresses):
            way_out = "Write for example shards:host1:8500,host2:8500."
            raise ConfigError(invalid("index", "have HOST:PORT of every shard", ",".join(self.addresses), way_out))

    @classmethod
    def at(cls, address: str) -> "ShardsKind":
        """See `IndexKind.at`."""
        return cls(tuple(address.split(",")))

    def reads(self, brought: Mapping[str, Any]) -> bool:
        """See `IndexKind.reads`."""
        return brought.get("type") == ShardedKind.__name__

    def build(self, vectors: np.ndarray, settings: "IndexConfig", seed: int = 0) -> CandidateIndex:
        """Raises `ConfigError`: the export's own index has to be in shards."""
        way_out = f"Export it with index.shards={len(self.addresses)}."
        raise ConfigError(invalid("index", "be that of an export in shards", to_dict(self), way_out))

    def load(self, folder: Path) -> Shards:
        """The shards of the version that has this folder, if they have it too: see `Shards.check`."""
        directory = folder.parent
        said, identity = manifest.read(directory), integrity.identity(directory) or ""
        with_parts = ShardedKind.read_parts(folder)
        count = len(with_parts["starts"])
        if count != len(self.addresses):
            way_out = "Name all of them, in their order."
            raise ConfigError(invalid("index", f"have the addresses of {count} shards", list(self.addresses), way_out))
        shards = Shards(self.addresses, said, identity, with_parts["dim"], self.seconds)
        shards.check()
        return shards


def _too_large(error: BaseException) -> bool:
    """Whether a shard's server refuses a search for its size. If it is too busy, it says when to ask again, or gRPC
    itself refuses, without a request id."""
    if not isinstance(error, grpc.Call):
        return False
    code, said = error.code().name, dict(error.trailing_metadata() or ())
    return code == "INVALID_ARGUMENT" or (
        code == "RESOURCE_EXHAUSTED" and REQUEST_ID in said and PUSHBACK[0] not in said)


def _said(error: BaseException) -> str:
    return f"{error.code().name}: {error.details()}" if isinstance(error, grpc.Call) else str(error)
