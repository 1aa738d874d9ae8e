"""A store of one's own, in the memory of this process, by an address scheme of its own: `memory:NAME`."""

from tfrs_twotower.online import StoreKind, Stores


class Memory(StoreKind):
    """Users by the name of their store."""

    schemes = ("memory:",)
    named = {}

    @classmethod
    def stores(cls, address, retention, allow_loss):
        history, profiles = cls.named.setdefault(address.removeprefix("memory:"), (MemoryHistory(), MemoryProfiles()))
        history.retention = retention
        return Stores(history, profiles, retention)

    @classmethod
    def cache(cls, address):
        return MemoryCache()


class MemoryHistory:
    """A `HistoryStore`."""

    def __init__(self):
        self.kept, self.retention = {}, None

    def append(self, events):
        new = 0
        for event in events:
            kept = self.kept.setdefault(event.user_id, [])
            if all(old.event_id != event.event_id for old in kept):
                kept.append(event)
                kept.sort(key=lambda e: e.timestamp)
                del kept[: -self.retention.events]
                new += 1
        return new

    def last(self, user_ids, n, types=()):
        found = [[e for e in self.kept.get(user, ()) if not types or e.event in types] for user in user_ids]
        return [events[max(len(events) - n, 0):] for events in found]

    def items(self, user_ids):
        return [{e.item_id: e.event for e in self.kept.get(user, ()) if e.item_id} for user in user_ids]

    def events(self, since, until):
        yield [e for events in self.kept.values() for e in events if since <= e.timestamp < until]

    def trim(self):
        return 0

    def close(self):
        pass


class MemoryProfiles:
    """A `ProfileStore`."""

    def __init__(self):
        self.users = {}

    def put(self, profiles):
        self.users.update(profiles)

    def get(self, user_ids):
        return [self.users.get(user, {}) for user in user_ids]

    def close(self):
        pass


class MemoryCache:
    """A `UserVectorCache`."""

    def __init__(self):
        self.vectors = {}

    def get(self, keys):
        return [self.vectors.get(key) for key in keys]

    def put(self, keys, vectors):
        self.vectors.update(zip(keys, vectors))

    def close(self):
        pass
