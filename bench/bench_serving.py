"""What REST and gRPC cost over an in-process call of the same signature: one client, one row a request.

    python -m bench.bench_serving [EXPORT_ROOT] [--rounds 1000]

The request is the export's own first warm-up request. Without EXPORT_ROOT a toy of four items is
served: its figures are the overhead alone. The server is a process of its own, as in use.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile

import grpc
import numpy as np

from bench.common import interleaved, record
from tfrs_twotower.serving import Predictor, Repository

# These come after tfrs_twotower, which sets up legacy Keras.
import tensorflow as tf  # isort: skip
from tensorflow_serving.apis import prediction_log_pb2, prediction_service_pb2_grpc  # isort: skip

_NAME = "bench"
_WARM_UP = os.path.join("assets.extra", "tf_serving_warmup_requests")
_SERVE = (
    "import sys; from tfrs_twotower.serving import serve; "
    f"serve(sys.argv[1], name='{_NAME}', rest_port=0, grpc_port=0, poll_seconds=3600)"
)


def main():
    """Measures, prints and records."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("root", nargs="?", help="the folder of the version folders; default: a toy")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--note", default="", help="what else to say, for the record")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        root = args.root or _toy(stack.enter_context(tempfile.TemporaryDirectory()))
        repository = Repository(root)
        repository.poll()
        model = stack.enter_context(repository.lease())
        request = _first_row(os.path.join(root, str(model.version)))
        rest_port, grpc_port = _serve(stack, root)
        paths = {
            "signature": _signature(model, request),
            "Predictor": _predictor(repository, request),
            "REST": _rest(stack, rest_port, request),
            "gRPC": _grpc(stack, grpc_port, request),
        }
        seconds = interleaved(paths, args.rounds, warmup=50)
    figures = _figures(seconds, "export" if args.root else "toy")
    record("serving", [{**row, "note": args.note} for row in figures])


def _figures(seconds, model):
    base = np.median(seconds["signature"])
    return [
        {
            "model": model,
            "path": path,
            "ms_p50": 1e3 * np.median(values),
            "ms_p99": 1e3 * np.quantile(values, 0.99),
            "ms_p50_over_signature": 1e3 * (np.median(values) - base),
            "ratio_p50_to_signature": np.median(values) / base,
        }
        for path, values in seconds.items()
    ]


def _toy(folder):
    from tests.serving import toy_export

    toy_export.write(folder, 1)
    return folder


def _first_row(directory):
    """The first warm-up request, cut to one row."""
    path = os.path.join(directory, _WARM_UP)
    if not os.path.exists(path):
        sys.exit(f"{path} is missing: this benchmark sends the export's warm-up request. Export again.")
    log = next(tf.data.TFRecordDataset(path).as_numpy_iterator())
    request = prediction_log_pb2.PredictionLog.FromString(log).predict_log.request
    request.model_spec.name = _NAME
    for proto in request.inputs.values():
        array = tf.make_ndarray(proto)
        proto.CopyFrom(tf.make_tensor_proto(array[:1] if array.ndim else array))
    return request


def _serve(stack, root):
    """Starts a server and returns its REST and gRPC ports."""
    process = subprocess.Popen([sys.executable, "-c", _SERVE, root], stdout=subprocess.PIPE, text=True)
    stack.callback(process.stdout.close)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return [int(port) for port in re.findall(r":(\d+)", process.stdout.readline())]


def _signature(model, request):
    function = model.signature(request.model_spec.signature_name)
    tensors = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
    return lambda: {name: value.numpy() for name, value in function(tensors).items()}


def _predictor(repository, request):
    inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
    predictor = Predictor(repository)
    return lambda: predictor.predict(request.model_spec.signature_name, inputs)


def _rest(stack, port, request):
    inputs = {name: tf.make_ndarray(proto).tolist() for name, proto in request.inputs.items()}
    fields = {"signature_name": request.model_spec.signature_name, "inputs": inputs}
    body = json.dumps(fields, default=bytes.decode)
    connection = stack.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)))

    def call():
        connection.request("POST", f"/v1/models/{_NAME}:predict", body)
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            raise RuntimeError(answer["error"])
        return answer["outputs"]

    return call


def _grpc(stack, port, request):
    channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return lambda: {n: tf.make_ndarray(p) for n, p in stub.Predict(request).outputs.items()}


if __name__ == "__main__":
    main()
