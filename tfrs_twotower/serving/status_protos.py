"""The status and metadata of a model as TF Serving's messages. REST prints them as JSON."""

from typing import TYPE_CHECKING, Any

import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import Message

from tfrs_twotower import extras
from tfrs_twotower.serving.errors import NotFound
from tfrs_twotower.serving.model import LoadedModel
from tfrs_twotower.serving.repository import Repository

if TYPE_CHECKING:
    from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap
    from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse

statuses = extras.require("tensorflow_serving.apis.get_model_status_pb2")
metadata = extras.require("tensorflow_serving.apis.get_model_metadata_pb2")

SIGNATURE_DEF = "signature_def"


def status_response(repository: Repository, version: int | None = None) -> "GetModelStatusResponse":
    """`GetModelStatusResponse` of all versions, newest first, or of one. Raises `NotFound`."""
    response = statuses.GetModelStatusResponse()
    for status in reversed(repository.statuses()):
        if version in (None, status.version):
            entry = response.model_version_status.add(version=status.version, state=status.state.value)
            if status.error:
                entry.status.error_code = tf.errors.FAILED_PRECONDITION
                entry.status.error_message = status.error
            else:
                entry.status.error_code = tf.errors.OK
    if not response.model_version_status:
        which = "any version" if version is None else f"version {version}"
        raise NotFound(f"Could not find {which} of the model.")
    return response


def signature_def_map(model: LoadedModel) -> "SignatureDefMap":
    """`SignatureDefMap` of a `LoadedModel`."""
    return metadata.SignatureDefMap(signature_def=model.signature_defs)


def to_json(message: Message, keep_names: bool = False) -> dict[str, Any]:
    """The dict that TF Serving prints for a message. It has the unset fields too."""
    return json_format.MessageToDict(
        message, always_print_fields_with_no_presence=True, preserving_proto_field_name=keep_names
    )
