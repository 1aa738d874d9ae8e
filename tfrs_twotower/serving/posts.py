"""What a server answers besides predictions: JSON in, JSON out, alike over REST and gRPC."""

from collections.abc import Callable
from typing import NamedTuple

from tfrs_twotower.serving.admission import Admission
from tfrs_twotower.serving.events import EventRecorder
from tfrs_twotower.serving.item_recorder import ItemRecorder
from tfrs_twotower.serving.recommend import Recommendations


class Post(NamedTuple):
    """What a POST, or a gRPC method, calls with the request as a dict, and the line that it waits in."""

    answer: Callable[[dict], dict]
    line: Admission
    warm: Callable = lambda model: None  # called with each version before it answers


def make_posts(predictor, lines, metrics, stores=None, changes=None, channels=()):
    """{what stands after /v1/: `Post`}. The arguments are those of `Server` and of its parts."""
    limits = predictor.limits
    recommendations = Recommendations(predictor, metrics, stores, changes, channels)
    events = EventRecorder(stores and stores.history, predictor.repository, limits, metrics)
    return {
        "events": Post(events.record, lines.events),
        "items": Post(ItemRecorder(changes, limits, metrics).record, lines.events),
        "recommend": Post(recommendations.recommend, lines.predictions, recommendations.warm),
    }
