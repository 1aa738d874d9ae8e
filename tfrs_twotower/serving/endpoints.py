"""The requests of a server besides predictions: JSON in and JSON out, the same over REST and gRPC."""

from collections.abc import Callable
from typing import NamedTuple

from tfrs_twotower import columns as c
from tfrs_twotower.online import Stores
from tfrs_twotower.serving.admission import Admission, Queues
from tfrs_twotower.serving.answer_recorder import IMPRESSIONS, AnswerRecorder
from tfrs_twotower.serving.current_items import ItemChanges
from tfrs_twotower.serving.events import EventRecorder
from tfrs_twotower.serving.item_recorder import ItemRecorder
from tfrs_twotower.serving.metrics import Metrics
from tfrs_twotower.serving.predictor import Predictor
from tfrs_twotower.serving.recommend import Questions
from tfrs_twotower.serving.users import UserRecorder


class Endpoint(NamedTuple):
    """The function that a POST or a gRPC method calls with the request as a dict, and the request's queue.

    path_id: the field of the request that REST has in the path, /v1/NAME/{id}, of a PUT; "" for a POST to /v1/NAME.
    """

    answer: Callable[[dict], dict]
    queue: Admission
    warm: Callable = lambda model: None  # called with each version before the version answers
    path_id: str = ""
    gets: bool = False  # a GET is answered too, with the request in its query string


def make_endpoints(
    predictor: Predictor,
    queues: Queues,
    metrics: Metrics,
    recommend: Endpoint,
    answers: AnswerRecorder,
    stores: Stores | None = None,
    changes: ItemChanges | None = None,
) -> dict[str, Endpoint]:
    """{path after /v1/: `Endpoint`}. `Server` and its parts describe the arguments."""
    limits = predictor.limits
    # `Stores` are never false.
    events = EventRecorder(stores and stores.history, predictor.repository, limits, metrics)  # type: ignore[arg-type]
    questions = Questions(predictor, changes)
    return {
        "elicit": Endpoint(questions.ask, queues.predictions, questions.warm, gets=True),
        "events": Endpoint(events.record, queues.events),
        IMPRESSIONS: Endpoint(answers.record, queues.events),
        "items": Endpoint(ItemRecorder(changes, limits, metrics).record, queues.events),
        "users": Endpoint(
            UserRecorder(stores, predictor.repository, limits, metrics).record, queues.events, path_id=c.USER_ID
        ),
        "recommend": recommend,
    }
