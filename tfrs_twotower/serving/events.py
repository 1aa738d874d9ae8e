"""Records a request's events of users. It does not depend on the transport."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tfrs_twotower import columns as c
from tfrs_twotower.errors import DataError, invalid
from tfrs_twotower.ids import as_number, is_missing_id, missing_id
from tfrs_twotower.online import Event, HistoryStore, StoreError, read_event
from tfrs_twotower.serving.errors import InvalidArgument, ResourceExhausted, Unavailable, Unimplemented
from tfrs_twotower.serving.limits import Limits
from tfrs_twotower.serving.metrics import Metrics
from tfrs_twotower.serving.model import DEFAULT_SIGNATURE, LoadedModel
from tfrs_twotower.serving.repository import Repository

EVENTS = "events"


class EventRecorder:
    """Checks events and puts them into the history store.

    Args:
      history: a `HistoryStore`. None: every request is refused.
      repository: a `Repository`. The type of the ids is checked against the newest model, if one is loaded.
      limits: a `Limits`.
      metrics: a `Metrics`.
      clock: a function that returns the seconds since 1970.
    """

    def __init__(
        self,
        history: HistoryStore | None,
        repository: Repository,
        limits: Limits,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._history, self._repository, self._limits = history, repository, limits
        self._metrics, self._clock = metrics, clock

    def record(self, request: dict[str, Any]) -> dict[str, int]:
        """Records the events of a request, either all or none. They are on disk when it returns.

        Args:
          request: {"events": [{"event_id", "user_id", "item_id", …}, …]}: see `online.read_event`.

        Returns:
          {"recorded": the number of new events, "known": the number that the store had already}.

        Raises:
          InvalidArgument: an event is wrong; the message says which and why.
          ResourceExhausted: there are more than `max_events`.
          Unimplemented: there is no store.
          Unavailable: the store fails. The same request can be sent again.
        """
        if self._history is None:
            raise Unimplemented("This server keeps no events. Start it with a store: twotower serve --store ….")
        events = self._read(request)
        try:
            new = self._history.append(events)
        except StoreError as error:
            self._metrics.store_failed("append")
            raise Unavailable(f"{error} Send the same events again: an id counts once.") from error
        self._metrics.recorded(new, len(events) - new)
        return {"recorded": new, "known": len(events) - new}

    def _read(self, request: dict[str, Any]) -> list[Event]:
        listed = request.get(EVENTS)
        if list(request) != [EVENTS] or not isinstance(listed, list) or not listed:
            raise InvalidArgument(f"The request must be an object with one key, '{EVENTS}', a list of events.")
        if len(listed) > self._limits.max_events:
            rule = f"have at most {self._limits.max_events} events"
            raise ResourceExhausted(invalid(EVENTS, rule, len(listed), "Send several requests."))
        numbers, now = self._numbers(), self._clock()
        events = []
        for place, fields in enumerate(listed):
            try:
                events.append(_as_numbers(read_event(fields, now), numbers))
            except DataError as error:
                raise InvalidArgument(f"{EVENTS}[{place}]: {error}") from error
        return events

    def _numbers(self) -> Sequence[str]:
        try:
            with self._repository.lease() as model:
                return number_ids(model)
        except (Unavailable, LookupError):
            return ()


def number_ids(model: LoadedModel) -> list[str]:
    """The names among `user_id` and `item_id` whose ids are whole numbers in a model."""
    inputs = model.signature(DEFAULT_SIGNATURE).inputs
    kinds = {c.USER_ID: inputs.get(c.USER_ID), c.ITEM_ID: inputs.get(c.EXCLUDE_IDS)}
    return [name for name, spec in kinds.items() if spec is not None and spec.dtype.is_integer]


def as_models_id(name: str, text: str, numbers: bool) -> str:
    """The id as text. If the model's ids are numbers, "7" stands for "007": so the number in a request matches it."""
    if not numbers:
        return text
    try:
        number: str | int = as_number(text)
    except ValueError:
        number = missing_id(int)
    if is_missing_id(number):
        rule = f"be a whole number, as in the model, of 64 bits and not {number}"
        raise DataError(invalid(name, rule, text[:80], "Send the id that the log has."))
    return str(number)


def _as_numbers(event: Event, names: Iterable[str]) -> Event:
    """The event with the named ids as the model writes them; a search may have no item."""
    for name in names:
        if text := getattr(event, name):
            event = event._replace(**{name: as_models_id(name, text, True)})  # type: ignore[arg-type]  # an id: text
    return event
