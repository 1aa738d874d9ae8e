"""The query of a recommendation: the tensors of the signature that searches for it."""

from collections.abc import Mapping

import tensorflow as tf

from tfrs_twotower import columns as c
from tfrs_twotower.errors import invalid, nearest
from tfrs_twotower.ids import id_type, missing_id
from tfrs_twotower.serving import json_tensors
from tfrs_twotower.serving.errors import InvalidArgument, Unimplemented
from tfrs_twotower.serving.model import DEFAULT_SIGNATURE, LoadedModel
from tfrs_twotower.serving.predictor import Predictor
from tfrs_twotower.serving.recommend.questions import elicitation_of, known_rows
from tfrs_twotower.serving.recommend.request import RecommendRequest, as_ids


def by_features(predictor: Predictor, model: LoadedModel, asked: RecommendRequest) -> dict[str, tf.Tensor]:
    """{feature: tensor of one batch row} of `serving_default`, with the features from the store.

    Raises:
      InvalidArgument: a feature is unknown, or has its own place in the request.
    """
    signature = predictor.signature(model, DEFAULT_SIGNATURE)
    for name in asked.features:
        if name not in model.query_inputs or name == c.USER_ID:
            signature.spec(name)  # raises with the nearest name if the name is unknown
            raise InvalidArgument(invalid("features", "be features of a query", name, "Send it beside `features`."))
    features = dict(asked.features)
    if c.EXCLUDE_IDS in signature.inputs:
        features[c.EXCLUDE_IDS] = []  # each search of the request has its own exclusions
    if c.USER_ID in signature.inputs:
        dtype = signature.inputs[c.USER_ID].dtype
        user = [missing_id(dtype)] if asked.user_id is None else [asked.user_id]
        features[c.USER_ID] = as_ids(user, id_type(dtype), c.USER_ID)[0]
    check = predictor.limits.check_size
    inputs, _ = json_tensors.decode({json_tensors.INSTANCES: [features]}, signature, check)
    tensors = signature.tensors(predictor.prepare(model, signature, inputs))
    return {**tensors, c.OBJECTIVES: _weights_of(model, asked.objectives)} if asked.objectives else tensors


def by_answers(model: LoadedModel, asked: RecommendRequest) -> dict[str, tf.Tensor]:
    """The tensors of `recommend_by_vector` for a stranger who answered questions.

    Raises:
      Unimplemented: the version has no such signature.
    """
    if c.RECOMMEND_BY_VECTOR not in model.signatures:
        raise Unimplemented(f"Version {model.version} has no search by vector, for it has a reranker. Send no `likes` "
                            "and `dislikes`; the likes may be a history in `features`.")
    vector = elicitation_of(model).vector(
        known_rows(model, "likes", asked.likes), known_rows(model, "dislikes", asked.dislikes)
    )
    if asked.objectives:
        weighed = (_weights_of(model, asked.objectives) @ model.root.heads).numpy()[0]
        vector[: len(weighed)] *= 1 + weighed  # further dimensions are not of the towers
    shape = model.signatures[c.RECOMMEND_BY_VECTOR].inputs[c.EMBEDDING].shape
    return {c.EMBEDDING: tf.broadcast_to(vector, [1, *shape[1:]])}  # of several interests, all are the same


def _weights_of(model: LoadedModel, objectives: Mapping[str, float]) -> tf.Tensor:
    """float32 [1, heads]: the weights of a request as an input of `serving_default`.

    Raises:
      InvalidArgument: the version has no such objective.
    """
    known = model.manifest.get(c.OBJECTIVES) or []
    for name in objectives:
        if name not in known:
            trained = " It was trained without `EventHeads`." if not known else ""
            raise InvalidArgument(f"Version {model.version} has no objective `{str(name)[:40]}`."
                                  + (nearest(name, known) or trained))
    return tf.constant([[float(objectives.get(name, 0.0)) for name in known]], tf.float32)
