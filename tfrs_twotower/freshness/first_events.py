"""The first events of new items, which move their vectors while a version serves."""

import collections
import dataclasses
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.configuration import from_dict
from tfrs_twotower.models import FewShot, Reptile
from tfrs_twotower.online import Event, HistoryStore, Stores
from tfrs_twotower.online.feedback import DISLIKE
from tfrs_twotower.serving.features import Features, column
from tfrs_twotower.serving.metrics import Metrics
from tfrs_twotower.serving.model import LoadedModel

_LATE = 60  # seconds


class FirstEvents:
    """Moves the vectors of items without training events by the query vectors of the users who chose them.

    It is the `FewShot` of the items that a training with `ModelConfig.few_shot` learned. A user's query vector is that
    of the moment of the event. Dislikes do not count.

    Args:
      model: a `LoadedModel`.

    Attributes:
      until: seconds since 1970: events before it have been read.
    """

    def __init__(self, model: LoadedModel) -> None:
        settings: Reptile = from_dict(model.manifest["recipe"]["model"]["few_shot"])
        catalogue: Any = model.catalogue  # `of` made sure that there is one, with people
        self._model, self._catalogue = model, catalogue
        users = catalogue.people.vectors[:, : catalogue.tower_dim]
        self._few = FewShot(users, 1.0 / model.manifest["temperature"], settings)
        self._few.start = np.array(model.manifest["item_start"], np.float32)
        self._first: dict[str, list[np.ndarray]] = {}  # item id as text: the query vectors of its first events
        self._counted: set[tuple[str, str]] = set()  # user and event
        self.until = int(model.manifest["trained_on"]["until"]) + 1

    @classmethod
    def of(cls, model: LoadedModel) -> "FirstEvents | None":
        """That of a version; None if its training learned none."""
        learned = model.manifest.get("item_start") and model.catalogue is not None and model.catalogue.people
        return cls(model) if learned else None

    def read(self, stores: Stores, now: int, items: Collection[str]) -> set[str]:
        """Reads the events up to a time, in seconds since 1970: the ids of those `items` that have new first events.

        It reads once a minute. An event that arrives up to a minute late still counts.

        Raises:
          StoreError: the store cannot be read.
        """
        if now < self.until + _LATE:
            return set()
        new = {item for item in items if self._is_new(item)}
        own = self._counting(itertools.chain.from_iterable(stores.history.events(self.until - _LATE, now)), new)
        for event, vector in zip(own, self._queries(stores, own) if own else ()):  # a failure before it counts nothing
            self._first[event.item_id] = [*self._first.get(event.item_id, ()), vector]
            self._counted.add((event.user_id, event.event_id))
        self.until = now
        return {event.item_id for event in own}

    def put(self, items: Sequence[Mapping[str, Any]], vectors: np.ndarray) -> None:
        """Moves the tower's part of `vectors` [n, dim] of the items that have first events.

        items: n × {"item_id": …}.
        """
        at = [place for place, item in enumerate(items) if str(item[c.ITEM_ID]) in self._first]
        if not at:
            return
        first = np.stack([np.mean(self._first[str(items[place][c.ITEM_ID])], axis=0) for place in at])
        vectors[at, : first.shape[1]] = self._few.adapted(vectors[at, : first.shape[1]], first)

    def _counting(self, events: Iterable[Event], new: Collection[str]) -> list[Event]:
        """The first events of the `new` items among these, as many as the settings say, each once."""
        found, counted = [], set(self._counted)
        number = collections.Counter({item: len(vectors) for item, vectors in self._first.items()})
        for event in events:
            key = (event.user_id, event.event_id)
            if event.event == DISLIKE or event.item_id not in new or key in counted:
                continue
            if number[event.item_id] < self._few.settings.events:
                number[event.item_id] += 1
                counted.add(key)
                found.append(event)
        return found

    def _is_new(self, item: str) -> bool:
        """Has an item, an id as text, no training events?"""
        row = self._catalogue.rows([self._catalogue.id_type(item)])[0]
        return row < 0 or not self._catalogue.trained[row]

    def _queries(self, stores: Stores, events: Sequence[Event]) -> np.ndarray:
        """float32 [n, tower_dim]: the query vectors of the events' users, each at the moment of the event."""
        model, signature = self._model, self._model.signature(c.EMBED_QUERY)
        moments = [event.timestamp for event in events]
        history: Any = _AsOf(stores.history, moments, stores.retention.events)  # `Features` calls `last` alone
        as_of = dataclasses.replace(stores, history=history)
        spec = signature.inputs.get(c.USER_ID, tf.TensorSpec([None], tf.string))
        asked = {c.USER_ID: np.asarray(column([event.user_id for event in events], spec))}
        if c.TIMESTAMP in model.query_inputs:
            asked[c.TIMESTAMP] = np.array(moments, np.int64)
        features = Features(as_of, Metrics()).join(model, signature, asked)
        return signature(features)[c.EMBEDDING].numpy()[:, : self._catalogue.tower_dim]


class _AsOf:
    """A `HistoryStore` of which `last` gives each user's events before a moment.

    Args:
      history: the store.
      moments: for each user of `last` a time, in seconds since 1970.
      most: the number of events of a user that the store keeps.
    """

    def __init__(self, history: HistoryStore, moments: Sequence[int], most: int) -> None:
        self._history, self._moments, self._most = history, moments, most

    def last(self, user_ids: Sequence[str], n: int, types: Collection[str] = ()) -> list[list[Event]]:
        found = self._history.last(user_ids, self._most, types)
        return [[e for e in own if e.timestamp < moment][-n:] for own, moment in zip(found, self._moments)]
