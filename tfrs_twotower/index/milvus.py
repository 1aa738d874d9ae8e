"""A Milvus collection as an index by item id: a local file, or a cluster by its address."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfrs_twotower import extras
from tfrs_twotower.errors import IndexingError, invalid
from tfrs_twotower.ids import missing_id
from tfrs_twotower.index import arguments, checks

_ID, _VECTOR = "item_id", "vector"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MOST = 16_384  # answers of a search and rows of a query, in Milvus
_LONGEST_ID = 512  # bytes
_PART = 1 << 24  # bytes of vectors in one request: Milvus takes 64 MB
_QUERIES = 256  # searched in one request
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_LINKS, _BUILD_WIDTH, _WIDTH = 16, 200, 200  # of the HNSW graph, as in `FaissHNSW`


class Found(NamedTuple):
    """The k best items of each query.

    scores: float32 [batch, k], descending; −inf pads.
    ids: object (str) or int64 [batch, k], the caller's ids; "" or −1 pads.
    """

    scores: np.ndarray
    ids: np.ndarray


class MilvusIndex:
    """Upserts, deletes and searches by item id, NumPy in and out. A program searches it by vector.

    Milvus itself takes changes in, keeps them and builds its graphs (HNSW, inner product). Searches are strongly
    consistent: they see every change whose call has returned. A large upsert goes in several requests, and a search
    meanwhile may see some of them.

    The collection's name has the embedding space, so that two spaces never mix.
    """

    def __init__(
        self, address: str | Path, collection: str, dim: int, id_type: type = str, space: str = "", token: str = ""
    ) -> None:
        """Opens the collection, or makes it.

        Args:
          address: a path that ends in ".db" (a local file, by milvus-lite) or a cluster's "http://host:19530".
          collection: the start of its name: a letter, then letters, digits and "_".
          dim: of the vectors. id_type: str (at most 512 bytes each) or int (64 bits).
          space: the id of the embedding space, the rest of the name.
          token: "user:password" or an API key, if the cluster needs one.

        Raises:
          MissingExtraError: pymilvus is not installed. IndexingError: a wrong argument, nothing answers at the
            address, or the collection holds something else.
        """
        self.dim, self.id_type, self.width = checks.at_least_one("dim", dim), id_type, _WIDTH
        self.space, self.collection = space, f"{collection}_{space}" if space else collection
        if not _NAME.fullmatch(self.collection):
            raise IndexingError(invalid("collection", "be letters, digits and _ alone", self.collection, "Rename it."))
        self._milvus = extras.require("pymilvus")
        self._in_file = str(address).endswith(".db")
        if self._in_file:
            extras.require("milvus_lite")
        self._client = self._ask(self._milvus.MilvusClient, str(address), token=token)
        if not self._ask(self._client.has_collection, self.collection):
            self._create()
        self._check_fields()
        self._ask(self._client.load_collection, self.collection)

    def __len__(self) -> int:
        """The items that a search can return."""
        return self._count({})

    def upsert(
        self, ids: Sequence[Any] | np.ndarray, vectors: np.ndarray,
        attributes: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Adds items, or replaces the vectors of items; searches that begin later see it.

        ids: n ids; if one comes twice, the last vector counts. vectors: [n, dim], finite.
        attributes: one dict per item, {name: text, number or bool}, which `search` may filter by. They replace the
        item's earlier ones.

        Raises:
          IndexingError: an id or a vector is wrong, or the change cannot be stored.
        """
        keys = self._keys(ids)
        vectors = arguments.vectors(vectors, len(keys), self.dim)
        attributes = [{}] * len(keys) if attributes is None else list(attributes)
        if len(attributes) != len(keys):
            way_out = "Pass one dict per id."
            raise IndexingError(invalid("attributes", f"have {len(keys)} rows", len(attributes), way_out))
        for name in {name for given in attributes for name in given}:
            _check_attribute(name)
        last = {key: row for row, key in enumerate(keys)}
        rows = [{**attributes[row], _ID: key, _VECTOR: vectors[row]} for key, row in last.items()]
        step = max(1, _PART // (4 * self.dim))
        for start in range(0, len(rows), step):
            self._ask(self._client.upsert, self.collection, rows[start:start + step])

    def delete(self, ids: Sequence[Any] | np.ndarray) -> int:
        """Removes items; an unknown id is no error. Returns the number of removed items. Raises as `upsert`."""
        keys, there = list(dict.fromkeys(self._keys(ids))), 0
        for start in range(0, len(keys), MOST):
            part = keys[start:start + MOST]
            named = self._filter(f"{_ID} in {{ids}}", {"ids": part})  # `ids=part` would go unescaped into a text
            there += self._count(named)
            self._ask(self._client.delete, self.collection, **named)
        return there

    def search(self, queries: np.ndarray, k: int, where: Mapping[str, Sequence[Any]] | None = None) -> Found:
        """The k items with the largest ⟨query, vector⟩.

        queries: float32 [batch, dim], finite. k: 1 to 16,384; if there are fewer items, the rest is "" or −1 with the
        score −inf.
        where: {attribute: list of values, or (lowest, highest) with None for no bound}: only items that fit all.

        Raises:
          IndexingError: an argument is wrong, or Milvus refuses.
        """
        queries, k = checks.query_matrix(queries, self.dim), checks.neighbours(k)
        if k > MOST:
            raise IndexingError(invalid("k", f"be at most {MOST}, the limit of Milvus", k, "Lower it."))
        fitting = self._filter(*_expression(where or {}))
        scores = np.full((len(queries), k), -np.inf, np.float32)
        ids = np.full(scores.shape, missing_id(self.id_type), object if self.id_type is str else np.int64)
        for start in range(0, len(queries), _QUERIES):
            answers = self._ask(
                self._client.search, self.collection, data=list(queries[start:start + _QUERIES]), limit=k,
                anns_field=_VECTOR, **fitting, output_fields=[_ID], consistency_level="Strong",
                search_params={"metric_type": "IP", "params": {"ef": max(k, self.width)}},
            )
            for row, hits in enumerate(answers, start):
                scores[row, :len(hits)] = [hit["distance"] for hit in hits]
                ids[row, :len(hits)] = [hit[_ID] for hit in hits]
        return Found(scores, ids)

    def compact(self) -> None:
        """Writes what is in memory as segments, with their graphs, and merges small ones."""
        self._ask(self._client.flush, self.collection)
        self._ask(self._client.compact, self.collection)

    def drop(self) -> None:
        """Removes the collection with its contents, for example when its embedding space is no longer served."""
        self._ask(self._client.drop_collection, self.collection)

    def close(self) -> None:
        """Closes the connection, or the file."""
        self._client.close()

    def _create(self) -> None:
        types = self._milvus.DataType
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=True)
        if self.id_type is str:
            schema.add_field(_ID, types.VARCHAR, is_primary=True, max_length=_LONGEST_ID)
        else:
            schema.add_field(_ID, types.INT64, is_primary=True)
        schema.add_field(_VECTOR, types.FLOAT_VECTOR, dim=self.dim)
        graph = self._client.prepare_index_params()
        graph.add_index(_VECTOR, index_type="HNSW", metric_type="IP",
                        params={"M": _LINKS, "efConstruction": _BUILD_WIDTH})
        self._ask(self._client.create_collection, self.collection, schema=schema, index_params=graph)

    def _check_fields(self) -> None:
        fields = {f["name"]: f for f in self._ask(self._client.describe_collection, self.collection)["fields"]}
        types = self._milvus.DataType
        wanted = types.VARCHAR if self.id_type is str else types.INT64
        dim = int(fields.get(_VECTOR, {}).get("params", {}).get("dim", 0))
        if _ID not in fields or fields[_ID]["type"] != wanted or dim != self.dim:
            raise IndexingError(
                f"The collection {self.collection} has the fields {sorted(fields)} with {dim} dimensions; needed are "
                f"{_ID} of {wanted.name} and {_VECTOR} of {self.dim}. Name another collection."
            )

    def _keys(self, ids: Sequence[Any] | np.ndarray) -> list[Any]:
        keys = arguments.keys(ids, self.id_type)
        for key in keys:
            if self.id_type is str and len(key.encode()) > _LONGEST_ID:
                way_out = "Milvus keeps no longer ones."
                raise IndexingError(invalid("ids", f"have at most {_LONGEST_ID} bytes", key[:40] + "…", way_out))
        return keys

    def _count(self, named: Mapping[str, Any]) -> int:
        rows = self._ask(self._client.query, self.collection, **named, output_fields=["count(*)"],
                         consistency_level="Strong")
        return int(rows[0]["count(*)"])

    def _filter(self, text: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a filter. A cluster gets the values beside its text, typed; milvus-lite has no such way."""
        if self._in_file:
            return {"filter": text.format_map({name: _quoted(value) for name, value in values.items()})}
        return {"filter": text, "filter_params": dict(values)} if values else {"filter": text}

    def _ask(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except (self._milvus.MilvusException, OSError) as error:
            raise IndexingError(f"Milvus refused ({error}). Look at its address and its log.") from error


def _expression(where: Mapping[str, Sequence[Any]]) -> tuple[str, dict[str, Any]]:
    """(Milvus's text of a filter, with a name in braces for each value; {name: value})."""
    parts, values = [], {}
    for name, wanted in where.items():
        _check_attribute(name)
        bounds = [(">=", wanted[0]), ("<=", wanted[1])] if isinstance(wanted, tuple) else [("in", list(wanted))]
        for sign, value in bounds:
            if value is not None:
                place = f"v{len(values)}"
                parts.append(f"{name} {sign} {{{place}}}")
                values[place] = value
    return " and ".join(parts), values


def _quoted(value: Any) -> str:
    """A value as milvus-lite reads it: it knows only these escapes, and reads other characters literally."""
    if isinstance(value, list):
        return f"[{', '.join(map(_quoted, value))}]"
    if isinstance(value, str):
        return '"' + value.translate(_ESCAPES) + '"'
    return json.dumps(value)


def _check_attribute(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in (_ID, _VECTOR):
        way_out = f"{_ID} and {_VECTOR} are taken."
        raise IndexingError(invalid("attribute", "be a name of letters, digits and _", name, way_out))
