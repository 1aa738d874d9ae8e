"""The data of the explorer, besides what `/v1/` answers: titles, users, similar items, the map, the server's state."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.channels.attributes import TEXT
from tfrs_twotower.data.values import is_list
from tfrs_twotower.errors import invalid
from tfrs_twotower.ids import as_number
from tfrs_twotower.online import StoreError, Stores
from tfrs_twotower.online.events import MAX_ID_BYTES
from tfrs_twotower.serving.current_items import CurrentItems, ItemChanges, current_items
from tfrs_twotower.serving.errors import InvalidArgument, NotFound, Unimplemented
from tfrs_twotower.serving.metrics import Metrics
from tfrs_twotower.serving.model import LoadedModel
from tfrs_twotower.serving.page.map import Maps
from tfrs_twotower.serving.predictor import Predictor
from tfrs_twotower.serving.recommend.described import described
from tfrs_twotower.serving.recommend.explaining import title_column

_FOUND = 20  # items of a search, and similar items
_PAST = 50  # events of a user
_ASKED = 200  # characters of a search
_IMAGES = ("image", "picture", "poster", "thumb", "cover")
_VALUES = 30  # values of an attribute that the page proposes, each of at most this many characters:
_LONGEST = 80

Parameters = Mapping[str, str]


class PageAnswers:
    """What the page asks for by GET. Every answer is a dict, ready for JSON, of a bounded size.

    Args:
      predictor: a `Predictor`.
      metrics: a `Metrics`.
      stores: `online.Stores`, or None.
      changes: `ItemChanges`, or None.
      channels: the names of the channels of /v1/recommend.
      degraded: a function: the parts without which the server answers.
    """

    def __init__(
        self, predictor: Predictor, metrics: Metrics, stores: Stores | None, changes: ItemChanges | None,
        channels: Sequence[str], degraded: Callable[[], list[str]],
    ) -> None:
        self._repository, self._metrics, self._stores, self._changes = predictor.repository, metrics, stores, changes
        self._channels, self._degraded, self._maps = list(channels), degraded, Maps()
        self._limits = predictor.limits
        self.all: dict[str, Callable[[Parameters], dict[str, Any]]] = {
            "model": self.model, "state": self.state, "items": self.items, "user": self.user, "similar": self.similar,
            "map": self.map,
        }

    def state(self, asked: Parameters) -> dict[str, Any]:
        """Versions, failing parts, and requests and seconds of each stage since the start."""
        versions = [{"version": s.version, "state": s.state.name.lower(), "error": s.error}
                    for s in self._repository.statuses()]
        return {"versions": versions[-_FOUND:], "degraded": self._degraded(), "stages": self._metrics.stages()}

    def model(self, asked: Parameters) -> dict[str, Any]:
        """What the newest version can be asked: its attributes, features, channels and objectives."""
        with self._repository.lease() as model:
            catalogue, title = self._catalogue(model).catalogue, title_column(model)
            image = _image_column(catalogue.attributes.kinds)
            features = [
                {"name": name, "type": model.signature().spec(name).dtype.name, "rank": model.signature().spec(name)
                 .shape.rank, "size": model.signature().spec(name).shape[-1]}
                for name in model.query_inputs if name != c.USER_ID
            ]
            attributes = [
                {"name": name, "kind": kind, "values": _common(catalogue.table[name]) if kind == TEXT else []}
                for name, kind in catalogue.attributes.kinds.items() if name not in (c.ITEM_ID, title, image)
            ]
            return {
                "version": model.version, "items": len(catalogue), "title": title, "image": image,
                "features": features, "attributes": attributes, "channels": self._channels,
                "store": self._stores is not None, "explains": c.EMBED_QUERY in model.signatures,
                "most": self._limits.max_k, "objectives": list(model.manifest.get(c.OBJECTIVES) or []),
                "user_id": "number" if self._user_is_number(model) else "text",
                "until": (model.manifest.get("trained_on") or {}).get("until"),
            }

    def items(self, asked: Parameters) -> dict[str, Any]:
        """The items whose title holds the text of `q`, the most popular first; an item of that id comes before."""
        text = asked.get("q", "").strip()
        if len(text) > _ASKED:
            raise InvalidArgument(f"`q` must have at most {_ASKED} characters. Received: {len(text)}. Shorten it.")
        with self._repository.lease() as model:
            items = self._catalogue(model)
            catalogue, title = items.catalogue, title_column(model) or c.ITEM_ID
            known = np.ones(len(catalogue), bool)
            withdrawn = catalogue.rows(items.withdrawn)
            known[withdrawn[withdrawn >= 0]] = False
            if text:
                names = catalogue.table[title].cast(pa.string())
                known &= np.asarray(pc.fill_null(pc.match_substring(names, text, ignore_case=True), False))
            rows = np.flatnonzero(known)
            best = rows[np.argsort(-catalogue.log_popularity[rows], kind="stable")][:_FOUND]
            changed = [item for item, values in zip(items.overlay_ids, items.overlay_features)
                       if text.casefold() in str(values.get(title, item)).casefold()] if text else []
            known_row = catalogue.rows(changed)
            fresh = [item for item, row in zip(changed, known_row) if row < 0][:_FOUND]
            others = np.union1d(known_row[known_row >= 0], best)
            best = others[np.argsort(-catalogue.log_popularity[others], kind="stable")]
            own = [item for item in _ids(items, [text]) if catalogue.rows([item])[0] >= 0 or item in items.place]
            found = list(dict.fromkeys([*own, *fresh, *catalogue.ids[best].tolist()]))[:_FOUND]
            return {"items": self._named(model, items, found)}

    def user(self, asked: Parameters) -> dict[str, Any]:
        """The newest events of a user, newest first, and the user's profile."""
        user = asked.get("id", "")
        if not user or len(user.encode("utf-8", "replace")) > MAX_ID_BYTES:
            rule = f"have 1 to {MAX_ID_BYTES} bytes"
            raise InvalidArgument(invalid("id", rule, user[:80], "Send a user's id."))
        if self._stores is None:
            raise Unimplemented("The server has no store, so it knows no users. Start it by: twotower serve --store …")
        try:
            events = self._stores.history.last([user], _PAST)[0][::-1]
            profile = self._stores.profiles.get([user])[0]
        except StoreError as error:
            raise NotFound(f"The store does not answer: {error}") from error
        with self._repository.lease() as model:
            items = self._catalogue(model)
            known = [(event, ids[0]) for event in events if (ids := _ids(items, [event.item_id]))]
            named = self._named(model, items, [item for _, item in known])
        past = [{**one, c.TIMESTAMP: event.timestamp, c.EVENT: event.event} for (event, _), one in zip(known, named)]
        return {"past": past, "profile": profile}

    def similar(self, asked: Parameters) -> dict[str, Any]:
        """The items most like an item, each with its score."""
        with self._repository.lease() as model:
            items = self._catalogue(model)
            ids = _ids(items, [asked.get("item", "")])
            pairs = items.similar(ids[0], _FOUND) if ids else []
            if not pairs:
                raise NotFound(f"There is no item {asked.get('item', '')[:80]!r}, or nothing is like it.")
            named = self._named(model, items, [item for item, _ in pairs])
            own = self._named(model, items, ids)[0]
        return {"item": own, "items": [{**one, "score": round(score, 4)} for one, (_, score) in zip(named, pairs)]}

    def map(self, asked: Parameters) -> dict[str, Any]:
        """The map of the newest version's items: `Maps.of`."""
        with self._repository.lease() as model:
            return self._maps.of(self._catalogue(model).catalogue, title_column(model))

    def _catalogue(self, model: LoadedModel) -> CurrentItems:
        if model.catalogue is None:
            raise Unimplemented(f"Version {model.version} holds no catalogue to show. Use :predict.")
        return current_items(model, self._changes)

    def _named(self, model: LoadedModel, items: CurrentItems, ids: Sequence[str | int]) -> list[dict[str, Any]]:
        """[{"item_id", "title", "image"}]: an image is an address, or None."""
        title, image = title_column(model), _image_column(items.catalogue.attributes.kinds)
        values = described(items, ids, [name for name in (title, image) if name])
        return [
            {c.ITEM_ID: item, "title": str(one.get(title or "") or item), "image": one.get(image or "")}
            for item, one in zip(ids, values)
        ]

    def _user_is_number(self, model: LoadedModel) -> bool:
        inputs = model.signature().inputs
        return c.USER_ID in inputs and inputs[c.USER_ID].dtype.is_integer


def _ids(items: CurrentItems, texts: Sequence[str]) -> list[str | int]:
    """Texts as item ids of the model's type; a text that is none is left out."""
    if items.catalogue.id_type is str:
        return [text for text in texts if text]
    found = []
    for text in texts:
        try:
            found.append(as_number(text))
        except ValueError:
            continue
    return found  # type: ignore[return-value]  # a list of numbers is one of ids


def _image_column(kinds: Mapping[str, str]) -> str | None:
    texts = [name for name, kind in kinds.items() if kind == TEXT]
    return next((name for part in _IMAGES for name in texts if part in name.casefold()), None)


def _common(column: pa.ChunkedArray) -> list[str]:
    """The most frequent values of a text column, without long ones."""
    values = pc.list_flatten(column) if is_list(column.type) else column
    counts = pc.value_counts(values.drop_null())
    most = pc.array_sort_indices(counts.field("counts"), "descending")[:_VALUES]
    return [value for value in counts.field("values").take(most).to_pylist() if len(value) <= _LONGEST]
