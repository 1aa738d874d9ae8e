"""A `HistoryStore` and a `ProfileStore` in Redis; a profile is one JSON text.

Three keys hold a user's events: a sorted set by time, whose members begin with the number of arrival, so that equal
times stay in that order; the set of their ids; and the count of arrivals. One script changes all three at once.
"""

import itertools
import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from tfrs_twotower.online.events import Event
from tfrs_twotower.online.history_store import Retention, kinds_of_items
from tfrs_twotower.online.redis_connection import PREFIX, check_durable, connect, errors

_ARRIVAL = 16  # digits
_KIND, _LEAST = Event._fields.index("event"), 3  # a member has at least an event's id, item and kind
_USERS = 1000  # that one round trip serves when all are trimmed

# KEYS: events, ids, arrivals. ARGV: how many events are kept, the oldest time kept, the number of kinds whose older
# events are kept, these kinds, then for each event its id, time and content. Returns {events added, events removed}.
# Keys of version 0.2.0 expire by Redis' clock: that is undone.
_CHANGE = """
local added, removed, most, kinds = 0, 0, tonumber(ARGV[1]), tonumber(ARGV[3])
for i = 4 + kinds, #ARGV, 3 do
  if redis.call('SADD', KEYS[2], ARGV[i]) == 1 then
    local arrival = string.format('%016d', redis.call('INCR', KEYS[3]))
    redis.call('ZADD', KEYS[1], ARGV[i + 1], arrival .. ARGV[i + 2])
    added = added + 1
  end
end
local function remove(members, left)  -- all but the first `left[kind]` of each kind
  for _, member in ipairs(members) do
    local event = cjson.decode(string.sub(member, 17))
    if (left[event[3]] or 0) > 0 then
      left[event[3]] = left[event[3]] - 1
    else
      redis.call('ZREM', KEYS[1], member)
      redis.call('SREM', KEYS[2], event[1])
      removed = removed + 1
    end
  end
end
local left = {}
for i = 4, 3 + kinds do
  left[ARGV[i]] = most
end
remove(redis.call('ZREVRANGE', KEYS[1], most, -1), left)
remove(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[2]), {})
for _, key in ipairs(KEYS) do
  redis.call('PERSIST', key)
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[3])
end
return {added, removed}
"""


class RedisHistoryStore:
    """See `HistoryStore`.

    Args:
      url: `redis://host:port/db`, `rediss://…` or `unix://path`.
      retention: a `Retention`.
      clock: seconds since 1970.
      allow_loss: True accepts a server that may lose acknowledged events.

    Raises:
      StoreError: nothing answers there, or the server may lose events.
    """

    def __init__(
        self,
        url: str,
        retention: Retention = Retention(),
        clock: Callable[[], float] = time.time,
        allow_loss: bool = False,
    ) -> None:
        self._url, self._retention, self._clock = url, retention, clock
        self._redis = connect(url, decode_responses=True)
        check_durable(self._redis, url, allow_loss)
        self._change = self._redis.register_script(_CHANGE)

    def append(self, events: Sequence[Event]) -> int:
        """See `HistoryStore`. Each user's events are kept all or not at all."""
        by_user: dict[str, list[str | int]] = {}
        for event in events:
            content = json.dumps(_content(event), ensure_ascii=False)
            by_user.setdefault(event.user_id, []).extend([event.event_id, event.timestamp, content])
        return self._changed(by_user)[0]

    def last(self, user_ids: Sequence[str], n: int, types: Collection[str] = ()) -> list[list[Event]]:
        """See `HistoryStore`. With `types` a user's whole history is read."""
        oldest, types = self._retention.oldest(self._clock()), frozenset(types)
        with errors(self._url):
            pipeline = self._redis.pipeline(transaction=False)
            for user in user_ids:
                pipeline.zrevrangebyscore(
                    _keys(user)[0], "+inf", oldest, 0, self._retention.most if types else n, withscores=True
                )
            found = pipeline.execute()
        return [_events(user, rows, n, types) for user, rows in zip(user_ids, found)]

    def items(self, user_ids: Sequence[str]) -> list[dict[str, str]]:
        """See `HistoryStore`."""
        found = self.last(user_ids, self._retention.most)
        return [kinds_of_items((event.item_id, event.event) for event in events[::-1]) for events in found]

    def events(self, since: int, until: int) -> Iterator[list[Event]]:
        """See `HistoryStore`."""
        for users in self._users():
            with errors(self._url):
                pipeline = self._redis.pipeline(transaction=False)
                for user in users:
                    pipeline.zrangebyscore(_keys(user)[0], since, f"({until}", withscores=True)
                found = pipeline.execute()
            yield [event for user, rows in zip(users, found) for event in _events(user, rows[::-1], len(rows), ())]

    def trim(self) -> int:
        """See `HistoryStore`."""
        before = self._retention.removed_before(self._clock(), self._count)
        return sum(self._changed(dict.fromkeys(users, ()), before)[1] for users in self._users())

    def close(self) -> None:
        """See `HistoryStore`."""
        self._redis.close()

    def _users(self) -> Iterator[list[str]]:
        """All users, some at a time; a few may come twice."""
        start, end = _keys("\0")[0].split("\0")
        with errors(self._url):
            found = self._redis.scan_iter(f"{start}*{end}", _USERS)
            while keys := list(itertools.islice(found, _USERS)):
                yield [key[len(start): -len(end)] for key in keys]

    def _count(self, since: int) -> tuple[int, int]:
        recent = total = 0
        for users in self._users():
            with errors(self._url):
                pipeline = self._redis.pipeline(transaction=False)
                for user in users:
                    pipeline.zcount(_keys(user)[0], since, "+inf")
                    pipeline.zcard(_keys(user)[0])
                counts = pipeline.execute()
            recent, total = recent + sum(counts[::2]), total + sum(counts[1::2])
        return recent, total

    def _changed(self, by_user: Mapping[str, Sequence[str | int]], before: int = 0) -> tuple[int, int]:
        """(events added, events removed) over all users.

        by_user: the script's arguments for events to add; before: the time before which events are removed.
        """
        rules: list[str | int] = [self._retention.events, before, len(self._retention.kinds), *self._retention.kinds]
        with errors(self._url):
            pipeline = self._redis.pipeline(transaction=False)
            for user, arguments in by_user.items():
                self._change(_keys(user), [*rules, *arguments], pipeline)
            changes = pipeline.execute()
        return sum(added for added, _ in changes), sum(removed for _, removed in changes)


def _keys(user: str) -> list[str]:
    """A user's keys; the braces keep them on one node of a cluster."""
    return [f"{PREFIX}:{{{user}}}:{part}" for part in ("events", "ids", "arrivals")]


def _content(event: Event) -> list[str | int | float | None]:
    """What a member says beside the user and the time. Defaults at the end are left out, as entries of earlier versions
    lack them."""
    content = [event.event_id, event.item_id, *event[_KIND:]]
    while len(content) > _LEAST and content[-1] in ("", None):
        content.pop()
    return content


def _events(user: str, rows: Iterable[tuple[str, float]], n: int, types: Collection[str]) -> list[Event]:
    """The `Event`s, oldest first, of members and scores, newest first."""
    events = []
    for member, timestamp in rows:
        event_id, item, kind, *more = json.loads(member[_ARRIVAL:])
        if not types or kind in types:
            events.append(Event(event_id, user, item, int(timestamp), kind, *more))
    return events[:n][::-1]


class RedisProfileStore:
    """See `ProfileStore`. Argument: a URL as for `RedisHistoryStore`. Raises `StoreError`."""

    def __init__(self, url: str) -> None:
        self._url, self._redis = url, connect(url, decode_responses=True)

    def put(self, profiles: dict[str, dict]) -> None:
        """See `ProfileStore`."""
        if profiles:
            with errors(self._url):
                self._redis.mset({_profile_key(u): json.dumps(v, allow_nan=False) for u, v in profiles.items()})

    def get(self, user_ids: Sequence[str]) -> list[dict]:
        """See `ProfileStore`."""
        if not user_ids:
            return []
        with errors(self._url):
            return [json.loads(text) if text else {} for text in self._redis.mget([_profile_key(u) for u in user_ids])]

    def close(self) -> None:
        """See `ProfileStore`."""
        self._redis.close()


def _profile_key(user: str) -> str:
    return f"{PREFIX}:{{{user}}}:profile"
