"""Optional dependencies: imported on use; an error says how to install them."""

import importlib
from types import ModuleType

from tfrs_twotower.errors import MissingExtraError

# module: (extra of setup.cfg, its purpose)
_EXTRAS = {
    "scann": ("scann", "the ScaNN index (Linux; without it use an exact or IVF index)"),
    "starlette": ("serve", "the local server"),
    "uvicorn": ("serve", "the local server"),
    "httptools": ("serve", "the local server"),
    "grpc": ("serve", "the gRPC endpoint"),
    "tensorflow_serving": ("serve", "the gRPC endpoint and warm-up requests"),
    "prometheus_client": ("serve", "the server's metrics"),
    "flask_swagger_ui": ("serve", "the description of the server's interface, at /docs"),
    "orjson": ("serve", "the JSON of the server's answers"),
    "faiss": ("faiss", "the Faiss indexes"),
    "pymilvus": ("milvus", "the Milvus index"),
    "milvus_lite": ("milvus", "a Milvus index in a local file"),
    "confluent_kafka": ("kafka", "events and items from Kafka"),
    "redis": ("redis", "a store or a cache in Redis"),
    "optuna": ("tune", "the search for better settings"),
    "wordllama": ("text", "vectors of texts"),
    "duckdb": ("prepare", "a prepared dataset (small logs need none: train on the files)"),
    "pyspark": ("spark", "a dataset prepared or a batch answered on a cluster"),
    "holidays": ("calendar", "the part `holiday` of a Time"),
    "matplotlib": ("notebooks", "the pictures of benchmarks and notebooks"),
}


def require(module: str) -> ModuleType:
    """Imports and returns `module` (a dotted name).

    Raises:
      MissingExtraError: the module is not installed; the message names its extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        root = module.split(".")[0]
        extra, purpose = _EXTRAS.get(root, (root, "this feature"))
        raise MissingExtraError(
            f"`{root}` is needed for {purpose} and cannot be imported ({error}). "
            f"Install it with: pip install 'tfrs_twotower[{extra}]'"
        ) from error


def available(module: str) -> bool:
    """True when `module` can be imported."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True
