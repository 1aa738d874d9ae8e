"""Records a request's changes of items. It does not depend on the transport."""

from typing import Any

from tfrs_twotower.errors import DataError, invalid
from tfrs_twotower.online import StoreError
from tfrs_twotower.serving.current_items import ItemChanges
from tfrs_twotower.serving.errors import InvalidArgument, ResourceExhausted, Unavailable, Unimplemented
from tfrs_twotower.serving.limits import Limits
from tfrs_twotower.serving.metrics import Metrics

CHANGED, WITHDRAWN = "changed", "withdrawn"
_EXACT = 2**53  # whole numbers up to this one are exact as floats
_DEEPEST = 32  # lists and objects around a value, at most


class ItemRecorder:
    """Checks item events and gives them to `ItemChanges`.

    Args:
      changes: `ItemChanges`. None: every request is refused.
      limits: a `Limits`.
      metrics: a `Metrics`.
    """

    def __init__(self, changes: ItemChanges | None, limits: Limits, metrics: Metrics) -> None:
        self._changes, self._limits, self._metrics = changes, limits, metrics

    def record(self, request: dict[str, Any]) -> dict[str, int]:
        """Records new, edited and withdrawn items, either all or none. They are on the disk when it returns, and every
        answer that begins later has them.

        Args:
          request: {"changed": [{"item_id", feature: value, …}, …], "withdrawn": [ids]}, one of the two or both.

        Returns:
          {"changed": the number of changed items, "withdrawn": the number of withdrawn items}.

        Raises:
          InvalidArgument: an item or an id is wrong; the message says which and why.
          ResourceExhausted: there are more than `max_events`.
          Unimplemented: the server keeps no item events.
          Unavailable: the disk fails. The same request can be sent again.
        """
        if self._changes is None:
            raise Unimplemented("This server takes no items in. Start it with a folder: twotower serve --items-log ….")
        changed, withdrawn = self._read(request)
        try:
            self._changes.record(changed, withdrawn)
        except DataError as error:
            raise InvalidArgument(str(error)) from error
        except StoreError as error:
            self._metrics.store_failed("items")
            raise Unavailable(f"{error} Send the same items again: a change counts once.") from error
        self._metrics.items_changed(len(changed), len(withdrawn))
        return {CHANGED: len(changed), WITHDRAWN: len(withdrawn)}

    def _read(self, request: dict[str, Any]) -> tuple[list[Any], list[Any]]:
        lists = [request.get(CHANGED, []), request.get(WITHDRAWN, [])]
        if not set(request) <= {CHANGED, WITHDRAWN} or not all(isinstance(items, list) for items in lists):
            raise InvalidArgument(f"The request must be an object of two lists, '{CHANGED}' and '{WITHDRAWN}'.")
        count = sum(map(len, lists))
        if not count:
            raise InvalidArgument(f"The request holds no items. Name some in '{CHANGED}' or '{WITHDRAWN}'.")
        if count > self._limits.max_events:
            rule = f"be at most {self._limits.max_events}"
            raise ResourceExhausted(invalid("items", rule, count, "Send several requests."))
        return whole(lists[0]), whole(lists[1])


def whole(value: Any, deeper: int = _DEEPEST) -> Any:
    """The value with whole floats as int at any depth: a `google.protobuf.Struct` writes 5 as 5.0.

    Raises `InvalidArgument` if more than `deeper` lists and objects enclose a value.
    """
    if isinstance(value, (list, dict)) and not deeper:
        raise InvalidArgument(f"A value is nested deeper than {_DEEPEST} lists and objects. Send it flatter.")
    if isinstance(value, list):
        return [whole(v, deeper - 1) for v in value]
    if isinstance(value, dict):
        return {name: whole(v, deeper - 1) for name, v in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT else value
