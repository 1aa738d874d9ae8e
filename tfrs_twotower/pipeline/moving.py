"""The statistics of an assembly's items, in the form that an export keeps them."""

import numpy as np
import pyarrow.compute as pc

from tfrs_twotower import columns as c
from tfrs_twotower.exporting import Moving
from tfrs_twotower.pipeline.assembly import Assembly


def moving(assembly: Assembly) -> Moving | None:
    """The `Moving` of the catalogue at the end of the log; None if candidates have no statistics."""
    a, statistics = assembly, assembly.examples.statistics
    if statistics is None:
        return None
    features = tuple(field.feature for field in statistics.fields)
    counts_users = any(feature.measure == "users" for feature in features)
    events = statistics.events()
    places = a.positions(events.item)
    events = events._replace(item=places).take(places >= 0)
    longest = max(max(feature.hours) for feature in features)
    events = events.compact(statistics.end, longest, counts_users)
    users, user = np.unique(events.user, return_inverse=True)
    ids = pc.cast(a.log.users[c.USER_ID].take(users), "string").to_pylist() if counts_users else [""]
    items = a.log.items.take(a.catalogue)
    until = max(int(times[-1]) for times in (a.log.timestamp, a.log.shown.timestamp) if len(times))
    return Moving(features, items, events._replace(user=user), ids, until)
