"""TF Serving's gRPC API, PredictionService and ModelService, and four services of our own.

The messages of our own services have protobuf's type Struct, which is JSON. Their fields are those of the REST
requests; `Users/Put` also has the `user_id`.

    import "google/protobuf/struct.proto";
    package twotower;
    service Events { rpc Record(google.protobuf.Struct) returns (google.protobuf.Struct); }
    service Users { rpc Put(google.protobuf.Struct) returns (google.protobuf.Struct); }
    service Impressions { rpc Record(google.protobuf.Struct) returns (google.protobuf.Struct); }
    service Items { rpc Change(google.protobuf.Struct) returns (google.protobuf.Struct); }
    service Recommender { rpc Recommend(google.protobuf.Struct) returns (google.protobuf.Struct); }
    service Elicitation { rpc Ask(google.protobuf.Struct) returns (google.protobuf.Struct); }

A number in a Struct is a float: send an id above 2**53 as text.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import tensorflow as tf
from google.protobuf import json_format, struct_pb2
from google.protobuf.message import DecodeError

from tfrs_twotower import extras
from tfrs_twotower.errors import brief, nearest
from tfrs_twotower.serving import status_protos, tensor_protos
from tfrs_twotower.serving.admission import Admission, Queues
from tfrs_twotower.serving.endpoints import Endpoint
from tfrs_twotower.serving.errors import (
    PUSHBACK,
    InvalidArgument,
    NotFound,
    Overloaded,
    ServingError,
    Unimplemented,
)
from tfrs_twotower.serving.guard import REQUEST_ID, request_id
from tfrs_twotower.serving.metrics import Call, Metrics
from tfrs_twotower.serving.predictor import Answerer, Predictor
from tfrs_twotower.serving.repository import Repository
from tfrs_twotower.serving.signature import Signature

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from grpc import GenericRpcHandler, Server, ServicerContext
    from tensorflow.core.framework.tensor_pb2 import TensorProto
    from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, GetModelMetadataResponse
    from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
    from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

grpc = extras.require("grpc")
model_service = extras.require("tensorflow_serving.apis.model_service_pb2_grpc")
predict_pb2 = extras.require("tensorflow_serving.apis.predict_pb2")
prediction_service = extras.require("tensorflow_serving.apis.prediction_service_pb2_grpc")

METHODS = {"events": ("twotower.Events", "Record"), "impressions": ("twotower.Impressions", "Record"),
           "items": ("twotower.Items", "Change"), "users": ("twotower.Users", "Put"),
           "recommend": ("twotower.Recommender", "Recommend"), "elicit": ("twotower.Elicitation", "Ask")}

_log = logging.getLogger(__name__)


def add_services(
    server: Server, predictor: Predictor, endpoints: Mapping[str, Endpoint], name: str, metrics: Metrics,
    queues: Queues, answer: Answerer | None = None,
) -> None:
    """Adds the services of one model to a `grpc.Server`.

    Args:
      server: the `grpc.Server`.
      predictor: a `Predictor`.
      endpoints: {name in `METHODS`: `Endpoint`}.
      name: the model's name.
      metrics: a `Metrics`.
      queues: `Queues`, in which requests wait for their turn.
      answer: a function like `Predictor.answer`, for requests that name no version; None: that of `predictor`.
    """
    calls = _Calls(name, metrics)
    services = (_service(*METHODS[what], endpoint, calls) for what, endpoint in endpoints.items())
    server.add_generic_rpc_handlers(tuple(services))
    prediction_service.add_PredictionServiceServicer_to_server(
        PredictionService(predictor, calls, queues.predictions, answer), server
    )
    model_service.add_ModelServiceServicer_to_server(ModelService(predictor.repository, calls), server)


class _Calls:
    """The common part of all methods: checks the model's name, counts the call, and turns errors into statuses."""

    def __init__(self, name: str, metrics: Metrics) -> None:
        self._name = name
        self._metrics = metrics

    def answer(
        self,
        method: str,
        handler: Callable[[Any, Call], Message],
        request: Message | bytes | None,
        context: ServicerContext,
        queue: Admission | None = None,
    ) -> Message:
        """Answers by `handler(request, call)` when the request's turn in `queue` comes; at once without a queue."""
        name = request_id(dict(context.invocation_metadata()).get(REQUEST_ID, ""))
        context.set_trailing_metadata(((REQUEST_ID, name),))
        try:
            with self._metrics.call(f"grpc:{method}", name) as call:
                if queue is None:
                    return handler(request, call)
                place = queue.acquire(context.time_remaining())
                if not context.add_callback(place.cancel):  # called when the client or the server ends the call
                    place.cancel()
                call.pause = place.pause
                with place:
                    answer = handler(request, call)
                context.set_trailing_metadata(((REQUEST_ID, name), *call.partial()))
                return answer
        except ServingError as error:
            code, message = error.code, str(error)
            if isinstance(error, Overloaded):  # it may be sent again; a request that is too large may not
                context.set_trailing_metadata(((REQUEST_ID, name), PUSHBACK))
        except Exception as error:
            _log.exception("%s failed", method)
            code, message = ServingError.code, f"{type(error).__name__}: see the server's log."
        context.abort(grpc.StatusCode[code], message)

    def refuse(self, method: str, context: ServicerContext) -> None:
        def unimplemented(request: None, call: Call) -> NoReturn:
            raise Unimplemented(f"{method} is not served here. Use Predict.")

        self.answer(method, unimplemented, None, context)

    def version(self, request: Message) -> int | None:
        """Checks the model spec; returns the version that it names, or None for the newest."""
        if not request.HasField("model_spec"):
            raise InvalidArgument("Missing ModelSpec.")
        spec = request.model_spec
        if spec.name != self._name:
            raise NotFound(f"Model `{spec.name[:80]}` not found. This server serves `{self._name}`.")
        if spec.version_label:
            raise InvalidArgument("Version labels are not served. Name the version by its number.")
        return spec.version.value if spec.HasField("version") else None


class PredictionService:
    """The servicer of TF Serving's PredictionService: Predict and GetModelMetadata.

    The methods that take tf.Examples are UNIMPLEMENTED.
    """

    def __init__(
        self, predictor: Predictor, calls: _Calls, queue: Admission, answer: Answerer | None = None
    ) -> None:
        self._predictor = predictor
        self._answer_of = answer or predictor.answer
        self._calls = calls
        self._queue = queue

    def Predict(self, request: PredictRequest, context: ServicerContext) -> PredictResponse:
        return self._calls.answer("Predict", self._predict, request, context, self._queue)

    def GetModelMetadata(self, request: GetModelMetadataRequest, context: ServicerContext) -> GetModelMetadataResponse:
        return self._calls.answer("GetModelMetadata", self._metadata, request, context)

    def Classify(self, request: Message, context: ServicerContext) -> None:
        self._calls.refuse("Classify", context)

    def Regress(self, request: Message, context: ServicerContext) -> None:
        self._calls.refuse("Regress", context)

    def MultiInference(self, request: Message, context: ServicerContext) -> None:
        self._calls.refuse("MultiInference", context)

    def _predict(self, request: PredictRequest, call: Call) -> PredictResponse:
        version = self._calls.version(request)
        with self._predictor.repository.lease(version) as model:
            call.version = model.version
            signature = self._predictor.signature(model, request.model_spec.signature_name)
            call.signature = signature.name
            wanted = _wanted(request.output_filter, signature)
            inputs = {name: self._array(signature, name, proto) for name, proto in request.inputs.items()}
            answer = self._predictor.answer if version is not None else self._answer_of
            outputs, named = answer(model, signature, inputs, call.pause)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.signature_name = signature.name
        response.model_spec.version.value = model.version
        for name in wanted:
            dtype = signature.outputs[name]
            response.outputs[name].CopyFrom(tensor_protos.from_array(outputs[name], dtype))
        for name, values in () if request.output_filter else named.items():
            texts = np.array([value.encode() for value in values], object)
            response.outputs[name].CopyFrom(tensor_protos.from_array(texts, tf.string))
        return response

    def _array(self, signature: Signature, name: str, proto: TensorProto) -> np.ndarray:
        # This check comes before the values are read: a tensor may claim a huge shape and carry one value.
        self._predictor.limits.check_shape(signature.spec(name), tensor_protos.shape_of(proto))
        return tensor_protos.to_array(proto)

    def _metadata(self, request: GetModelMetadataRequest, call: Call) -> GetModelMetadataResponse:
        version = self._calls.version(request)
        if list(request.metadata_field) != [status_protos.SIGNATURE_DEF]:
            raise InvalidArgument(
                f"`metadata_field` must be ['{status_protos.SIGNATURE_DEF}']. "
                f"Received: {brief(list(request.metadata_field), 80)}."
            )
        response = status_protos.metadata.GetModelMetadataResponse()
        with self._predictor.repository.lease(version) as model:
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = model.version
            response.metadata[status_protos.SIGNATURE_DEF].Pack(status_protos.signature_def_map(model))
        return response


class ModelService:
    """The servicer of TF Serving's ModelService: GetModelStatus.

    The server follows its folder by itself, so a reload request is UNIMPLEMENTED.
    """

    def __init__(self, repository: Repository, calls: _Calls) -> None:
        self._repository = repository
        self._calls = calls

    def GetModelStatus(self, request: GetModelStatusRequest, context: ServicerContext) -> GetModelStatusResponse:
        return self._calls.answer("GetModelStatus", self._status, request, context)

    def HandleReloadConfigRequest(self, request: Message, context: ServicerContext) -> None:
        self._calls.refuse("HandleReloadConfigRequest", context)

    def _status(self, request: GetModelStatusRequest, call: Call) -> GetModelStatusResponse:
        return status_protos.status_response(self._repository, self._calls.version(request))


def _service(service: str, method: str, endpoint: Endpoint, calls: _Calls) -> GenericRpcHandler:
    def handle(request: bytes, call: Call) -> struct_pb2.Struct:
        try:
            fields = json_format.MessageToDict(struct_pb2.Struct.FromString(request))
        except (DecodeError, ValueError) as error:  # ValueError: a number that JSON cannot express
            raise InvalidArgument(f"The request must be a google.protobuf.Struct of finite numbers: {error}") from error
        found = endpoint.answer(fields)
        call.version = found.get("model_version")
        answer = struct_pb2.Struct()
        answer.update(found)
        return answer

    return grpc.method_handlers_generic_handler(service, {
        method: grpc.unary_unary_rpc_method_handler(
            lambda request, context: calls.answer(method, handle, request, context, endpoint.queue),
            response_serializer=struct_pb2.Struct.SerializeToString,
        )
    })


def _wanted(output_filter: Sequence[str], signature: Signature) -> list[str]:
    for name in output_filter:
        if name not in signature.outputs:
            raise InvalidArgument(
                f"Signature `{signature.name}` has no output `{name[:80]}`." + nearest(name, signature.outputs)
            )
    if len(set(output_filter)) != len(output_filter):
        raise InvalidArgument(f"`output_filter` names an output twice: {brief(list(output_filter), 80)}.")
    return list(output_filter) or list(signature.outputs)
