"""Plain Faiss behind TF Serving's gRPC: `python -m bench.faiss_server INDEX_FILE PROBES K THREADS`, for comparison.

It takes a vector and gives rows and scores. There is no line, no check, no log and no metric. It prints its port.
"""

import sys
import threading
from concurrent import futures

import faiss
import grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tfrs_twotower.serving import tensor_protos

# This comes after tfrs_twotower, which sets up legacy Keras.
import tensorflow as tf  # isort: skip


class Search(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict alone."""

    def __init__(self, index, k):
        self._index, self._k = index, k

    def Predict(self, request, context):
        """`embedding` [batch, dim] → `ids` and `scores` [batch, k]."""
        scores, rows = self._index.search(tensor_protos.to_array(request.inputs["embedding"]), self._k)
        response = predict_pb2.PredictResponse()
        response.outputs["ids"].CopyFrom(tensor_protos.from_array(rows, tf.int64))
        response.outputs["scores"].CopyFrom(tensor_protos.from_array(scores, tf.float32))
        return response


def main(path, probes, k, threads):
    """Serves until it is ended."""
    index = faiss.read_index(path)
    index.nprobe = int(probes)
    server = grpc.server(futures.ThreadPoolExecutor(int(threads)))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Search(index, int(k)), server)
    print(f"gRPC 127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", flush=True)
    server.start()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
