"""Reads a SavedModel's signatures from its file, without loading it."""

import os
import re
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from tfrs_twotower.exporting.integrity import SAVED_MODEL
from tfrs_twotower.serving.errors import VersionRefused

if TYPE_CHECKING:
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, SignatureDef

TAG = "serve"
_CHANGES = re.compile(  # ops that change variables, tables or files
    r"Assign|Resource(Scatter|Apply|SparseApply|StridedSliceAssign|Count)"
    r"|Scatter(Add|Sub|Mul|Div|Min|Max|Update|Nd(?!NonAliasing).+)"
    r"|(LookupTable|MutableHash|MutableDense).*(Insert|Remove|Import)|WriteFile|WriteSummary|Save|MergeV2"
    r"|DestroyResource|QueueEnqueue|StackPush"
)


def signature_defs(graph: "MetaGraphDef") -> "dict[str, SignatureDef]":
    """{signature name: SignatureDef} of a `meta_graph`."""
    # The protos are copied: a reference into the message would keep the whole graph in memory.
    return {name: _copy(proto) for name, proto in graph.signature_def.items()}


def state_changing(graph: "MetaGraphDef") -> frozenset[str]:
    """The names of a `meta_graph`'s signatures that change variables, tables or files when they are called."""
    return frozenset(name for name, proto in graph.signature_def.items() if _changes(graph, proto))


def _changes(graph: "MetaGraphDef", signature: "SignatureDef") -> bool:
    """Does the signature reach an op that changes state? Functions call other functions by name."""
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    outputs = {output.name.partition(":")[0] for output in signature.outputs.values()}
    nodes, met = [node for node in graph.graph_def.node if node.name in outputs], set()
    while nodes:
        node = nodes.pop()
        if _CHANGES.match(node.op):
            return True
        for value in node.attr.values():
            for name in [value.func.name, *(func.name for func in value.list.func)]:
                if name in functions and name not in met:
                    met.add(name)
                    nodes.extend(functions[name].node_def)
    return False


def meta_graph(directory: str) -> "MetaGraphDef":
    """The graph and signatures of a version directory, without loading it. Raises `VersionRefused`."""
    saved_model = saved_model_pb2.SavedModel()
    try:
        with open(os.path.join(directory, SAVED_MODEL), "rb") as file:
            saved_model.ParseFromString(file.read())
    except DecodeError as error:
        raise VersionRefused(f"{SAVED_MODEL} is damaged: {error}.") from error
    for meta_graph in saved_model.meta_graphs:
        if TAG in meta_graph.meta_info_def.tags:
            return meta_graph
    raise VersionRefused(f"the SavedModel has no graph tagged '{TAG}'.")


def _copy(proto: "SignatureDef") -> "SignatureDef":
    copy = type(proto)()
    copy.CopyFrom(proto)
    return copy
