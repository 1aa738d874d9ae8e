"""What the benchmarks of `twotower serve` share: its process, its store, and one client each of REST and gRPC."""

import contextlib
import http.client
import json
import re
import subprocess
import sys

import grpc

from bench.online_export import NAME, K
from tfrs_twotower import columns as c
from tfrs_twotower.online import Event, open_stores
from tfrs_twotower.serving import tensor_protos

# These come after tfrs_twotower, which sets up legacy Keras.
import tensorflow as tf  # isort: skip
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc  # isort: skip

HOT = 100  # users that ask again and again; every other user asks once


def start(stack, module, *options):
    """Starts a module as a process that ends with the stack; returns the process and the ports that it prints."""
    process = subprocess.Popen([sys.executable, "-m", module, *map(str, options)], stdout=subprocess.PIPE, text=True)
    stack.callback(process.stdout.close)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process, [int(port) for port in re.findall(r":(\d+)", process.stdout.readline())]


def start_server(stack, folder, *options, store="store.db"):
    """`twotower serve` with store and cache; returns the process, and its REST and gRPC ports."""
    return start(
        stack, "tfrs_twotower", "serve", f"{folder}/export", "--rest-port", 0, "--grpc-port", 0, "--poll-seconds", 3600,
        "--log-level", "error", "--store", f"sqlite:{folder}/{store}", "--cache", 100_000, *options,
    )


def fill_store(folder, features, store="store.db"):
    """Puts every user's past into the store."""
    with contextlib.closing(open_stores(f"sqlite:{folder}/{store}")) as stores:
        rows = zip(*(features[n].tolist() for n in (c.USER_ID, c.HISTORY_ITEM_ID, c.HISTORY_TIMESTAMP)))
        events = [
            Event(f"{user}:{place}", str(user), str(item), when)
            for user, items, times in rows for place, (item, when) in enumerate(zip(items, times))
        ]
        for at in range(0, len(events), 10_000):
            stores.history.append(events[at:at + 10_000])


class Rest:
    """One kept connection."""

    def __init__(self, port):
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def post(self, path, body):
        """The answer's JSON."""
        self._connection.request("POST", path, json.dumps(body))
        response = self._connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            raise RuntimeError(answer["error"])
        return answer

    def recommend(self, user):
        """The user's scores."""
        answer = self.post(f"/v1/models/{NAME}:predict", {"inputs": {c.USER_ID: [user], c.K: K}})
        return answer["outputs"][c.SCORES][0]


class Grpc:
    """One channel; `signature` "" is the default one."""

    def __init__(self, port, signature=""):
        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(
            grpc.insecure_channel(f"127.0.0.1:{port}", options)
        )
        self._signature = signature

    def ask(self, **inputs):
        """Outputs by name, as arrays."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = NAME, self._signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        return {name: tensor_protos.to_array(p) for name, p in self._stub.Predict(request).outputs.items()}
