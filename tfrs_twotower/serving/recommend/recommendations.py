"""Answers `/v1/recommend`: the channels of a request, blended by its rules."""

import dataclasses
import functools
import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.channels import Channel, Context, Shares, admitted, blend, mmr, places
from tfrs_twotower.errors import ConfigError, DataError, nearest
from tfrs_twotower.ids import is_missing_id
from tfrs_twotower.online import SHADOW, StoreError, Stores
from tfrs_twotower.online.feedback import DISLIKE
from tfrs_twotower.serving import json_tensors
from tfrs_twotower.serving.answer_recorder import AnswerRecorder
from tfrs_twotower.serving.catalogue import texts
from tfrs_twotower.serving.current_items import CurrentItems, ItemChanges, current_items
from tfrs_twotower.serving.errors import InvalidArgument, Unimplemented
from tfrs_twotower.serving.events import number_ids
from tfrs_twotower.serving.features import leaves_out
from tfrs_twotower.serving.metrics import Metrics, current
from tfrs_twotower.serving.model import DEFAULT_SIGNATURE, LoadedModel
from tfrs_twotower.serving.predictor import Predictor
from tfrs_twotower.serving.recommend import unknown_users
from tfrs_twotower.serving.recommend.builtin import (
    BUILTIN,
    FRESH,
    I2I,
    POPULAR,
    U2I,
    NewestChannel,
    PopularChannel,
    SimilarChannel,
    TowersChannel,
)
from tfrs_twotower.serving.recommend.described import check_fields, described
from tfrs_twotower.serving.recommend.explaining import MOST, explanations
from tfrs_twotower.serving.recommend.query import by_answers, by_features
from tfrs_twotower.serving.recommend.questions import unknown
from tfrs_twotower.serving.recommend.request import RecommendRequest, as_ids, read_request
from tfrs_twotower.serving.recommend.selection import Selection

_RESERVES = (U2I, POPULAR)
_POOL = 4  # proposals for each place, among which diversity chooses
_log = logging.getLogger(__name__)


class Recommendations:
    """Recommends to one user at a time. Threads may share one object.

    Args:
      predictor: a `Predictor`.
      metrics: a `Metrics`.
      stores: `online.Stores` with the users' histories. None: requests must carry all features.
      changes: `ItemChanges`, or None.
      channels: further `Channel`s besides u2i, i2i, popular and fresh. One with such a name replaces it.
      newcomers: the `Shares` of requests that name no channels; None: u2i gets all places.
      answers: an `AnswerRecorder` that keeps the answers; None: they get no id.

    Raises:
      ConfigError: `newcomers` names an unknown channel.
    """

    def __init__(
        self,
        predictor: Predictor,
        metrics: Metrics,
        stores: Stores | None = None,
        changes: ItemChanges | None = None,
        channels: Iterable[Channel] = (),
        newcomers: Shares | None = None,
        answers: AnswerRecorder | None = None,
    ) -> None:
        self._predictor, self._metrics, self._stores, self._changes = predictor, metrics, stores, changes
        self._answers = answers
        self._channels = {channel.name: channel for channel in channels}
        self._names = list(dict.fromkeys([*BUILTIN, *self._channels]))
        self._newcomers = newcomers
        for name in newcomers.names if newcomers else ():
            if name not in self._names:
                raise ConfigError(f"`newcomers`: there is no channel `{name}`." + nearest(name, self._names))

    @property
    def channel_names(self) -> list[str]:
        """The names that `channels` of a request may have."""
        return self._names

    def recommend(self, request: dict[str, Any]) -> dict[str, Any]:
        """The items for one user.

        Args:
          request: a dict with the attributes of `RecommendRequest`.

        Returns:
          {"model_version": …, "items": [{"item_id", "score", "channel"}, …]}: k items, or fewer if the rules admit
          fewer; "answer_id" too, if the server keeps answers. Each channel has its own scores; scores of different
          channels cannot be compared. With `fields` each item has "fields": {column: value} too, and with `explain`
          the first items have "explanation". Likes and dislikes that the version does not know say nothing; with any,
          the answer has "unknown": {"likes", "dislikes": their ids}.

        Raises:
          InvalidArgument: the request is wrong; the message says what.
          NotFound: the asked version is not served.
          ResourceExhausted: the request is larger than the limits.
          Unimplemented: this package did not export the version.
          Unavailable: no version is loaded.
        """
        asked = read_request(request, self._predictor.limits)
        try:
            quotas = places(asked.channels, asked.k, self._names, U2I)
        except DataError as error:
            raise InvalidArgument(str(error)) from error
        with self._predictor.repository.lease(asked.version) as model:
            if model.catalogue is None:
                raise Unimplemented(f"Version {model.version} holds no catalogue to apply rules to. Use :predict.")
            check_fields(model.catalogue, asked.fields)
            asked = dataclasses.replace(asked, user_id=as_kept(model, asked.user_id))
            told = bool(asked.likes or asked.dislikes)
            tensors = by_answers(model, asked) if told else by_features(self._predictor, model, asked)
            items, given = current_items(model, self._changes), dict(tensors)
            with self._metrics.stage("filter"):
                answer = self._answer(model, asked, quotas, given, items)
            named = {}
            if self._answers is not None:
                context = {name: value for name, value in request.items() if name not in ("user_id", "features")}
                if kept := self._answers.recommended(model, asked.user_id, context, tensors, answer):
                    named["answer_id"] = kept
            written = self._written(model, asked, items, answer, given)
            ignored = unknown(model, {"likes": asked.likes, "dislikes": asked.dislikes})
            return {"model_version": model.version, **named, "items": written, **ignored}

    def warm(self, model: LoadedModel) -> None:
        """Computes values that the first request to a version would wait for. Call it before the version answers."""
        if model.catalogue is None:
            return
        items, attributes = current_items(model, self._changes), model.catalogue.attributes
        selection = Selection(items, {}, {}, ())
        context = Context("", tuple(model.catalogue.ids[:1].tolist()), selection.admits)
        for channel in (SimilarChannel(selection), PopularChannel(selection), NewestChannel(items)):
            channel.propose(context, 1)
        for name in attributes.kinds:
            attributes.any_of(name, ())

    def _written(
        self, model: LoadedModel, asked: RecommendRequest, items: CurrentItems,
        answer: Sequence[tuple[str, str | int, float]], tensors: dict[str, tf.Tensor],
    ) -> list[dict[str, Any]]:
        """The items of an answer, ready for JSON."""
        found: list[dict[str, Any]] = [
            {c.ITEM_ID: item, "score": json_tensors.single(score), "channel": name} for name, item, score in answer
        ]
        if asked.fields:
            for one, values in zip(found, described(items, [item for _, item, _ in answer], asked.fields)):
                one["fields"] = values
        if asked.explain and found:
            scores = {item: score if name == U2I else math.nan for name, item, score in answer[:MOST]}
            execute = functools.partial(self._predictor.execute, model, DEFAULT_SIGNATURE)
            with self._metrics.stage("explain"):
                why = explanations(model, items, tensors, scores, asked.k, execute)
            for one, explanation in zip(found, why):
                one["explanation"] = explanation
        return found

    def _answer(
        self, model: LoadedModel, asked: RecommendRequest, quotas: Mapping[str, int], tensors: dict[str, tf.Tensor],
        items: CurrentItems,
    ) -> list[tuple[str, str | int, float]]:
        seen, liked = self._seen(model, asked, tensors)
        by_vector = c.EMBEDDING in tensors
        known = by_vector or not unknown_users.is_unknown_user(model, tensors, bool(asked.features) or bool(seen))
        told = as_ids([*asked.likes, *asked.dislikes], model.catalogue.id_type, "likes and dislikes")
        excluded = as_ids(asked.exclude_ids, model.catalogue.id_type, c.EXCLUDE_IDS) + told
        left_out = leaves_out(model) if asked.exclude_seen is None else asked.exclude_seen
        excluded = _items(excluded + (seen if left_out else []))
        selection = Selection(items, asked.allow, asked.deny, excluded)
        if asked.popularity_beta is not None:
            tensors[c.POPULARITY_BETA] = tf.constant(asked.popularity_beta, tf.float32)
        signature = c.RECOMMEND_BY_VECTOR if by_vector else DEFAULT_SIGNATURE
        execute = functools.partial(self._predictor.execute, model, signature)
        if asked.explain:
            dtype = tf.string if model.catalogue.id_type is str else tf.int64
            tensors[c.EXCLUDE_IDS] = tf.constant([excluded], dtype, [1, len(excluded)])
        channels: dict[str, Channel] = {
            U2I: TowersChannel(execute, tensors, selection, excluded, known), I2I: SimilarChannel(selection),
            POPULAR: PopularChannel(selection), FRESH: NewestChannel(items), **self._channels,
        }
        # A shadow's answer is shown to nobody: channels that count what they show do not learn the user.
        user = "" if asked.user_id is None or current().arm.startswith(SHADOW) else str(asked.user_id)
        by_share = self._newcomers is not None and not (asked.channels or by_vector)
        if by_share:
            quotas = self._by_share(quotas, user, len(seen), asked.k)

        def propose(name: str, n: int, taken: Collection[str | int]) -> list[tuple[str | int, float]]:
            def admits(ids: Sequence[str | int]) -> list[bool]:
                return [good and item not in taken for item, good in zip(ids, selection.admits(ids))]

            return self._pick(channels[name], Context(user, tuple(liked), admits), n, taken, asked.diversity, items)

        answer = blend(quotas, _RESERVES, propose)
        if by_share:
            self._note(user, quotas, answer)
        return answer

    def _by_share(self, quotas: Mapping[str, int], user: str, events: int, k: int) -> Mapping[str, int]:
        """The places by `newcomers`; `quotas` while its counts fail."""
        try:
            return self._newcomers.places(user, events, k, U2I)
        except StoreError as error:
            self._failed("newcomers", error)
            return quotas

    def _note(
        self, user: str, quotas: Mapping[str, int], answer: Sequence[tuple[str, str | int, float]]
    ) -> None:
        """Tells `newcomers` what its channels show."""
        try:
            for name in self._newcomers.names:
                found = [item for channel, item, _ in answer if channel == name]
                if found or quotas.get(name):
                    self._newcomers.shown(user, name, found)
        except StoreError as error:
            self._failed("newcomers", error)

    def _failed(self, what: str, error: StoreError) -> None:
        self._metrics.store_failed("channel")
        _log.error("Channel %s proposes nothing: %s", what, error)

    def _pick(
        self,
        channel: Channel,
        context: Context,
        n: int,
        taken: Collection[str | int],
        diversity: float,
        items: CurrentItems,
    ) -> list[tuple[str | int, float]]:
        """The first n admitted proposals of a channel; with diversity, n that `mmr` chooses."""
        try:
            # A channel from outside may count its proposals as shown, so it is asked for no more than will be shown.
            wanted = n if not diversity or channel.name in self._channels else n * _POOL
            pool = admitted(self._metrics.stage("channels")(channel.propose), context, wanted)
        except StoreError as error:
            self._failed(channel.name, error)
            return []
        if not diversity:
            return pool
        vectors = items.vectors([item for item, _ in pool])
        return [pool[at] for at in mmr(vectors, n, diversity, items.vectors(list(taken)) if taken else None)]

    def _seen(
        self, model: LoadedModel, asked: RecommendRequest, tensors: Mapping[str, tf.Tensor]
    ) -> tuple[list[str | int], list[str | int]]:
        """(the ids of the items in the user's history, newest first, each once: the request's, then all in the store;
        those whose newest event is no dislike)."""
        past: dict[str | int, bool] = {}  # whether it was liked
        for name in model.past_items:
            if name in asked.features and name in tensors:
                past |= dict.fromkeys(texts(tensors[name].numpy()[0]).tolist()[::-1], True)
        if self._stores is not None and asked.user_id is not None:
            try:
                for item, newest in self._stores.history.items([str(asked.user_id)])[0].items():
                    past.setdefault(item, newest != DISLIKE)
            except StoreError:  # `Health` has logged it
                self._metrics.store_failed("read")
        kind = model.catalogue.id_type
        return _items(as_ids(past, kind)), _items(as_ids([item for item, liked in past.items() if liked], kind))


def as_kept(model: LoadedModel, user: str | int | None) -> str | int | None:
    """The user's id as stores have it: 7 for "007", if the model's ids are numbers. What is none stays."""
    if user is None or c.USER_ID not in number_ids(model):
        return user
    return (as_ids([user], int) or [user])[0]


def _items(ids: Iterable[str | int]) -> list[str | int]:
    """Each id once, without the missing id."""
    return [item for item in dict.fromkeys(ids) if not is_missing_id(item)]
