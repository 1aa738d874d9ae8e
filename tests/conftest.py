"""What all tests share. The package is imported before anything can import TensorFlow with Keras 3."""

import gc
import importlib
import os
import random
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

import tfrs_twotower  # noqa: F401

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Each client of httpx would read the certificates of all authorities, which takes 20 ms. And where nobody says how long
# it waits, that is 5 s: a busy machine takes longer, when a server traces its first answer.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = os.devnull
for step in ("connect", "read", "write", "pool"):
    setattr(httpx._config.DEFAULT_TIMEOUT_CONFIG, step, 60.0)

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))  # so that tests in folders find the helpers beside this file
importlib.import_module("without_grammars")

# Files and single tests that train for long or wait, the longest files first; `make test-quick` leaves them out.
SLOW = (
    "test_systems.py", "test_notebooks.py", "test_on_spark.py", "test_distribution.py", "test_from_tfrs.py",
    "test_youtube_and_facebook.py", "test_unknown_users.py", "test_export.py", "test_cli.py", "test_full_update.py",
    "test_precision.py", "test_recommender.py", "test_sequences.py", "test_search.py", "test_own_parts.py",
    "test_repeats.py", "test_chaos.py", "test_parameter_servers.py", "test_auxiliary.py", "test_neighbours.py",
    "test_every_recipe.py", "test_refit.py", "test_user_update.py", "test_names.py", "test_popularity.py",
    "test_no_leak.py", "test_rules.py", "test_publishing.py", "test_rollback.py", "test_serving_online.py",
    "test_items.py", "test_racing.py", "test_own_files.py", "test_serving_category_means.py", "test_serving_cache.py",
    "test_fresh.py", "test_fit.py", "test_serving_server.py", "test_serving_events.py", "test_serving_fuzz.py",
    "test_serving_repository.py", "test_serving_exploration.py", "test_serving_repeats.py", "test_outside_index.py",
    "test_read_only.py", "test_serving_degraded.py", "test_serving_shards.py", "test_report.py", "test_counting.py",
    "test_serving_page.py",
    # of other files
    "test_eager_and_saved_model_agree", "test_events_that_weigh_little_do_not_lead_the_model_astray",
    "test_a_head_learns_which_items_are_bought", "test_items_that_are_never_liked_are_not_recommended",
    "test_training_finds_the_planted_clusters",
    "test_importing_after_tensorflow_with_keras_3_is_one_line_and_choosing_then_is_too_late",
    "test_the_tutorials_model_is_as_good_with_this_task_in_its_place", "test_drop_in_for_a_tfrs_model_with_metrics",
    "test_the_refined_softmax_needs_no_hits_to_be_unbiased",
    "test_corrected_gradients_approach_those_of_the_full_softmax",
    "test_a_served_store_is_loaded_asked_and_told",
    "test_the_walks_of_this_package_begin_and_end_where_they_should",
    "test_consumers_killed_again_and_again_lose_nothing_and_count_nothing_twice",
    "test_what_follows_a_signed_version_is_signed", "test_serve_starts_while_store_and_cache_are_down",
    "test_fashion_is_learned", "test_two_servers.py", "test_topics_alone_say_what_was_shown_and_chosen",
)


def pytest_collection_modifyitems(items):
    """Marks what is slow. Slow files come first: begun last, one would keep a process busy while the other is idle."""
    for item in items:
        if {item.path.name, item.originalname} & set(SLOW):
            item.add_marker("slow")
    items.sort(key=lambda item: SLOW.index(item.path.name) if item.path.name in SLOW else len(SLOW))


def pytest_collection_finish():
    """What TensorFlow made while it was imported stays. To look for garbage there took a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.fixture(autouse=True)
def _seeds():
    """Every test starts from the same global seeds, whichever tests ran before it."""
    random.seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True, scope="module")
def _tensorflow_seed():
    """Every file, not every test: setting it, TensorFlow forgets all that it compiled, and compiles it again."""
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(0)


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data sets beside the checkout; where it is missing, the test is skipped."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the folder ../shared/data with real data sets, which is not here")
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A recommender trained on planted data. Tests read it; who changes it trains their own (`toy.train`)."""
    import toy

    return toy.train(tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture(scope="module")
def two_signatures():
    """`toy.two_signatures` for a file in which it does not matter what an export can be asked."""
    import toy

    with toy.two_signatures():
        yield


@pytest.fixture(scope="session")
def _redis_server():
    import redis_server

    with redis_server.running() as server:
        yield server


@pytest.fixture
def redis(_redis_server):
    """A `redis_server.RedisServer`, empty and durable. Who kills it starts their own."""
    _redis_server.client.flushall()
    return _redis_server


@pytest.fixture(scope="session")
def _kafka_cluster():
    import kafka_cluster

    with kafka_cluster.running() as cluster:
        yield cluster


@pytest.fixture
def kafka(_kafka_cluster, tmp_path, monkeypatch):
    """A `kafka_cluster.KafkaCluster`, and settings for it in the environment. Who kills it starts their own."""
    import kafka_cluster

    (tmp_path / "kafka.properties").write_text(kafka_cluster.SETTINGS)
    monkeypatch.setenv("TWOTOWER_KAFKA_CONFIG", str(tmp_path / "kafka.properties"))
    return _kafka_cluster
