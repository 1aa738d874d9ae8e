"""What the benchmarks of `twotower serve` share: its process, its store, and clients of REST and gRPC.

`Rest` and `Grpc` read the answers. `RestBytes` and `GrpcBytes` only take them in: they share the processors with the
server, so they do as little as they can.
"""

import contextlib
import http.client
import json
import re
import socket
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


class RestBytes:
    """One kept connection that sends requests made before, and reads of an answer its status and length alone."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @staticmethod
    def request(user):
        """The bytes of a request for K items."""
        body = json.dumps({"inputs": {c.USER_ID: [user], c.K: K}}).encode()
        head = f"POST /v1/models/{NAME}:predict HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def send(self, request):
        """The answer's bytes."""
        self._socket.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._socket.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(answer.decode())
        size = int(re.search(rb"content-length: (\d+)", head.lower())[1])
        while len(body) < size:
            body += self._socket.recv(65536)
        return body


class GrpcBytes:
    """One channel that sends requests made before, and does not read the answers."""

    def __init__(self, port):
        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        self.send = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

    @staticmethod
    def request(signature="", **inputs):
        """The bytes of a request; `signature` "" is the default one."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = NAME, signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tensor_protos.from_array(value, tf.as_dtype(value.dtype)))
        return request.SerializeToString()
