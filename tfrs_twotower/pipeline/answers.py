"""Answers of a trained model about users and items of its log, as readable frames."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.channels import Attributes, read_rules, satisfied
from tfrs_twotower.data import InteractionLog
from tfrs_twotower.errors import DataError, invalid, nearest
from tfrs_twotower.exporting import Retriever
from tfrs_twotower.features import key_tensor, to_tensor
from tfrs_twotower.pipeline.assembly import Assembly
from tfrs_twotower.pipeline.requests import as_ids, live_requests, user_rows


class Answerer(Protocol):
    """What answers: a `Retriever`, or an export with the same methods.

    Attributes:
      item_ids, vectors: of the catalogue.
    """

    item_ids: tf.Tensor
    vectors: tf.Tensor

    def embed_query(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """As `Retriever.embed_query`."""

    def recommend(
        self, features: Mapping[str, tf.Tensor], k: tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor,
        popularity_beta: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `Retriever.recommend`."""


def recommended(
    assembly: Assembly, retriever: Retriever, user_ids: Sequence[Any], k: int, exclude_seen: bool
) -> pd.DataFrame:
    """The frame of `Recommender.recommend`, of one user or more.

    Raises:
      DataError: no user is named, or `k` is below 1.
    """
    if not user_ids or k < 1:
        raise DataError(f"`user_ids` must name a user and `k` be at least 1. Received: {user_ids!r}, k={k!r}.")
    ids, scores = best(retriever, *live_requests(assembly, user_ids), k, exclude_seen)
    rows = [
        {c.USER_ID: user, "rank": r + 1, c.ITEM_ID: item, "score": float(score)}
        for user, found, values in zip(user_ids, plain(ids.numpy()), scores.numpy())
        for r, (item, score) in enumerate(zip(found, values)) if score > tf.float32.min
    ]
    frame = pd.DataFrame(rows, columns=[c.USER_ID, "rank", c.ITEM_ID, "score"])
    return titled(frame, assembly.log, assembly.recipe.title)


def best(
    answerer: Answerer, features: dict[str, tf.Tensor], seen: tf.Tensor, k: int, exclude_seen: bool,
    allowed: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """(ids, scores) [users, k] of `live_requests`. A place without an item has the least float32 as its score.

    allowed: [m], the item ids that may be in an answer; None: all.
    """
    allow_ids = seen[:1, :0] if allowed is None else allowed[tf.newaxis]
    return answerer.recommend(
        features, tf.constant(k), seen if exclude_seen else seen[:, :0], allow_ids, tf.constant(0.0)
    )


def allowed_items(items: pa.Table, allow: Mapping[str, Any], deny: Mapping[str, Any]) -> tf.Tensor | None:
    """The ids [m] of the items that satisfy the rules of a request (`channels.read_rules`); None without rules.

    Raises:
      DataError: a rule cannot be read, or no item satisfies all.
    """
    if not allow and not deny:
        return None
    attributes = Attributes(items)
    rules = [read_rules(name, given, attributes.kinds) for name, given in (("allow", allow), ("deny", deny))]
    good = satisfied(attributes, *rules)
    if not good.any():
        raise DataError(invalid("allow and deny", "admit an item", {"allow": allow, "deny": deny}, "Ask for less."))
    return key_tensor(items[c.ITEM_ID].filter(pa.array(good)), c.ITEM_ID)


def similar(assembly: Assembly, retriever: Retriever, item_id: Any, k: int) -> pd.DataFrame:
    """The frame of `Recommender.similar`.

    Raises:
      DataError: the catalogue has no such item.
    """
    spec = tf.TensorSpec([None], retriever.item_ids.dtype)
    item = to_tensor(as_ids([item_id], assembly.log.items, c.ITEM_ID), spec)
    if int(retriever.rows_of(item)[0]) < 0:
        known = plain(retriever.item_ids.numpy()[:1000])[0]
        raise DataError(
            f"`item_id` must be in the catalogue. Received: item_id={item_id!r}."
            + (nearest(item_id, known) if isinstance(known[0], str) else "")  # a near number is no typing error
        )
    ids, scores = retriever.similar_items(item, tf.constant(k))
    return titled(frame_of(ids, scores), assembly.log, assembly.recipe.title)


def frame_of(ids: tf.Tensor, scores: tf.Tensor) -> pd.DataFrame:
    """A frame with `rank`, `item_id` and `score` of the first query of an answer [queries, k], without padding."""
    frame = pd.DataFrame({"rank": np.arange(1, len(ids[0]) + 1), c.ITEM_ID: plain(ids.numpy())[0],
                          "score": scores.numpy()[0]})
    return frame[frame["score"] > tf.float32.min]


def watched(log: InteractionLog, title: str | None, user_id: Any, n: int) -> pd.DataFrame:
    """The frame of `Recommender.watched`."""
    items = log.item[log.user == user_rows(log, [user_id])[0]][::-1][:n]
    return titled(pd.DataFrame({c.ITEM_ID: log.items[c.ITEM_ID].take(items).to_pylist()}), log, title)


def active_users(assembly: Assembly, n: int) -> list[Any]:
    """Ids of n users spread over the log, with test events if there are any."""
    a = assembly
    users = np.unique(a.split.test.user if len(a.split.test.user) else a.log.user)
    chosen = users[np.linspace(0, len(users) - 1, min(n, len(users))).astype(int)]
    return a.log.users[c.USER_ID].take(chosen).to_pylist()


def titled(frame: pd.DataFrame, log: InteractionLog, title: str | None) -> pd.DataFrame:
    """The frame with a column `title` beside its `item_id`: the items' column `title`; unchanged if that is None."""
    if title is None:
        return frame
    titles = dict(zip(log.items[c.ITEM_ID].to_pylist(), log.items[title].to_pylist()))
    return frame.assign(title=[titles.get(i) or str(i) for i in frame[c.ITEM_ID]])


def plain(ids: np.ndarray) -> list[list[str | int]]:
    """Ids as Python values: bytes become text."""
    return [
        [i.decode("utf-8", "replace") if isinstance(i, bytes) else int(i) for i in row] for row in np.atleast_2d(ids)
    ]
