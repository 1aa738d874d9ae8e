"""Records a user's profile and picks. It does not depend on the transport."""

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.errors import DataError, invalid, nearest
from tfrs_twotower.online import StoreError, Stores, read_id
from tfrs_twotower.serving.errors import InvalidArgument, ResourceExhausted, Unavailable, Unimplemented
from tfrs_twotower.serving.events import as_models_id, number_ids
from tfrs_twotower.serving.item_recorder import whole
from tfrs_twotower.serving.limits import Limits
from tfrs_twotower.serving.metrics import Metrics
from tfrs_twotower.serving.model import DEFAULT_SIGNATURE, LoadedModel
from tfrs_twotower.serving.repository import Repository

PROFILE, PICKS, MERGE = "profile", "picks", "merge"
MAX_PICKS = 1000
MAX_PROFILE_BYTES = 65_536  # of a profile with its picks, as JSON
_LARGEST = float(np.finfo(np.float32).max)


class UserRecorder:
    """Checks profiles and picks against the newest model, and puts them into the profile store.

    Args:
      stores: `Stores`. None: every request is refused.
      repository: a `Repository`.
      limits: a `Limits`.
      metrics: a `Metrics`.
    """

    def __init__(self, stores: Stores | None, repository: Repository, limits: Limits, metrics: Metrics) -> None:
        self._stores, self._repository, self._limits, self._metrics = stores, repository, limits, metrics
        self._merging = threading.Lock()

    def record(self, request: dict[str, Any]) -> dict[str, Any]:
        """Keeps what a request says of one user. It is on disk when it returns, and the next answer has it.

        Requests of one server that merge take turns. Of two servers that merge at the same moment, one wins.

        Args:
          request: {"user_id": the user, "profile": {column: value}, "picks": [item ids], "merge": bool}; one of profile
            and picks, or both. Columns are those that the model reads of a query. Without `merge` they replace the
            whole profile. With it the others stay, and null removes one.

        Returns:
          {"user_id": the id as it is kept, "columns": the names of all columns that are kept of the user}.

        Raises:
          InvalidArgument: a column is unknown or its value has another type; the message says which and why.
          ResourceExhausted: the profile or the list of picks is too large.
          Unimplemented: there is no store, or no column for picks.
          Unavailable: no version is loaded, or the store fails. The same request can be sent again.
        """
        if self._stores is None:
            raise Unimplemented("This server keeps no users. Start it with a store: twotower serve --store ….")
        user, found, merge = self._read(request)
        try:
            with self._merging:
                kept = {**self._stores.profiles.get([user])[0], **found} if merge else found
                kept = {name: value for name, value in kept.items() if value is not None}
                if (size := len(json.dumps(kept))) > MAX_PROFILE_BYTES:
                    rule = f"have at most {MAX_PROFILE_BYTES} bytes as JSON"
                    raise ResourceExhausted(invalid(PROFILE, rule, f"{size} bytes", "Keep less of the user."))
                self._stores.profiles.put({user: kept})
        except StoreError as error:
            self._metrics.store_failed("profiles")
            raise Unavailable(f"{error} Send the same request again.") from error
        return {c.USER_ID: user, "columns": sorted(kept)}

    def _read(self, request: dict[str, Any]) -> tuple[str, dict[str, Any], bool]:
        """(user, {column: value, or None to remove it}, whether to merge)."""
        for name in request:
            if name not in (c.USER_ID, PROFILE, PICKS, MERGE):
                raise InvalidArgument(f"A user has no `{str(name)[:80]}`." + nearest(name, (PROFILE, PICKS, MERGE)))
        profile, picks, merge = request.get(PROFILE, {}), request.get(PICKS), request.get(MERGE, False)
        if not isinstance(profile, dict) or not isinstance(merge, bool):
            raise InvalidArgument(f"`{PROFILE}` must be an object of columns, and `{MERGE}` true or false.")
        if PROFILE not in request and picks is None:
            raise InvalidArgument(f"The request says nothing of the user. Give `{PROFILE}`, `{PICKS}` or both.")
        with self._repository.lease() as model:
            numbers, columns = number_ids(model), profile_columns(model)
        try:
            user = as_models_id(c.USER_ID, read_id(c.USER_ID, request.get(c.USER_ID)), c.USER_ID in numbers)
            found = {name: self._value(name, value, columns) for name, value in whole(profile).items()}
            if picks is not None:
                found[self._picks_column(columns)] = _picks(picks, c.ITEM_ID in numbers)
        except DataError as error:
            raise InvalidArgument(str(error)) from error
        return user, found, merge

    def _value(self, name: str, value: Any, columns: Mapping[str, tf.TensorSpec]) -> Any:
        if self._stores is not None and name == self._stores.picks:
            raise InvalidArgument(f"`{name}` holds the user's picks. Send them as `{PICKS}`, beside `{PROFILE}`.")
        if name not in columns:
            raise InvalidArgument(f"The model reads no column `{name[:80]}` of a user." + nearest(name, columns))
        if value is not None:
            _check(name, value, columns[name], self._limits.max_width)
        return value

    def _picks_column(self, columns: Mapping[str, tf.TensorSpec]) -> str:
        if self._stores is None or self._stores.picks is None:
            raise Unimplemented("This server reads no picks. Start it with a column for them: twotower serve --store … "
                                "--interests interests.")
        return self._stores.picks


def profile_columns(model: LoadedModel) -> dict[str, tf.TensorSpec]:
    """{column: TensorSpec} of what a query reads besides the user's id, the time, the histories and the searches."""
    inputs = model.signature(DEFAULT_SIGNATURE).inputs
    pasts = tuple(f"{name}_" for name in model.histories)
    others = (c.USER_ID, c.TIMESTAMP, c.SEARCHES)
    return {name: inputs[name] for name in model.query_inputs if name not in others and not name.startswith(pasts)}


def _check(name: str, value: Any, spec: tf.TensorSpec, most: int) -> None:
    """Raises `InvalidArgument` unless a request could carry the value for the column."""
    what, fits = _TYPES[spec.dtype]
    if len(spec.shape) == 1:
        if not fits(value):
            raise InvalidArgument(invalid(name, f"be {what}", value, "Leave it out, or send null, if it is not known."))
        return
    size = spec.shape[1]
    rule = f"be a list of {'at most ' + str(most) if size is None else size} values, each {what}"
    if not isinstance(value, list) or not all(map(fits, value)) or len(value) > most or size not in (None, len(value)):
        raise InvalidArgument(invalid(name, rule, value, "Leave it out, or send null, if it is not known."))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= _LARGEST


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and -(2**63) <= value < 2**63


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


_TYPES: dict[tf.DType, tuple[str, Callable[[Any], bool]]] = {
    tf.string: ("text (string)", _is_text), tf.int64: ("a whole number (int64)", _is_whole),
    tf.float32: ("a finite number (float32)", _is_number),
}


def _picks(picks: object, numbers: bool) -> list[str]:
    """The picks as ids of items, each once; numbers: the model's ids are numbers."""
    if not isinstance(picks, list):
        raise InvalidArgument(f"`{PICKS}` must be a list of item ids. Received: a {type(picks).__name__}.")
    if len(picks) > MAX_PICKS:
        raise ResourceExhausted(invalid(PICKS, f"have at most {MAX_PICKS} items", len(picks), "Send the first ones."))
    return list(dict.fromkeys(as_models_id(PICKS, read_id(PICKS, pick), numbers) for pick in picks))
