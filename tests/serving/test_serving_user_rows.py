"""Rows of users beside a version that cannot have them."""

import dataclasses
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.serving import toy_export
from tests.serving.test_serving_repository import error_of, top_score
from tfrs_twotower.exporting import user_deltas
from tfrs_twotower.exporting.user_deltas import UserDelta
from tfrs_twotower.serving import Repository, Server, State
from tfrs_twotower.serving.signature_defs import _CHANGES, meta_graph, signature_defs, state_changing

EXPORTED = Path(__file__).parents[1] / "fixtures" / "run" / "export"


def test_no_client_can_write_rows_of_users():
    version = EXPORTED / "1"
    graph = meta_graph(version)
    assert state_changing(graph) == {"update_user_rows"} < set(signature_defs(graph))
    asked = {"signature_name": "update_user_rows", "inputs": {"keys": [1], "rows": [[1e30] * 32]}}
    with Server(EXPORTED, name="run", rest_port=0, grpc_port=0) as server:
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/run"
        answer = httpx.post(url + ":predict", json=asked, timeout=60)
        assert answer.status_code == 404 and "update_user_rows` not found" in answer.json()["error"]
        assert "update_user_rows" not in httpx.get(url + "/metadata").text


def test_rows_of_users_of_another_space_are_refused_and_the_status_says_why(tmp_path, publish):
    toy_export.write_manifest(publish(tmp_path, 1), embedding_space="mine")
    rows = UserDelta("other", 1, np.array([1]), np.ones([1, 2], np.float32))
    user_deltas.publish(tmp_path, 1, rows)
    said = []
    repository = Repository(tmp_path, on_status=lambda s: said.append((s.state, s.error)))
    for _ in range(2):
        repository.poll()
        assert top_score(repository) == 5.0 and "of another embedding space" in error_of(repository, 1)
    user_deltas.publish(tmp_path, 1, rows)
    repository.poll()
    assert [state for state, error in said if error] == [State.AVAILABLE]  # said once
    for _ in range(2):
        user_deltas.withdraw(tmp_path, 1)
        repository.poll()
    assert error_of(repository, 1) == "" and top_score(repository) == 5.0
    user_deltas.publish(tmp_path, 1, dataclasses.replace(rows, embedding_space="mine"))
    repository.poll()
    assert "no table of user ids" in error_of(repository, 1)
    repository.poll()
    assert len([error for _, error in said if error]) == 2


@pytest.mark.parametrize("op, changes", [
    ("AssignVariableOp", True), ("ResourceScatterUpdate", True), ("ScatterNdUpdate", True), ("ResourceApplyAdam", True),
    ("LookupTableInsertV2", True), ("MutableHashTableV2", False), ("WriteFile", True), ("SaveV2", True),
    ("MergeV2Checkpoints", True), ("QueueEnqueueV2", True), ("StackPushV2", True), ("DestroyResourceOp", True),
    ("ScatterNd", False), ("ScatterNdNonAliasingAdd", False), ("ReadVariableOp", False), ("LookupTableFindV2", False),
])
def test_ops_that_change_what_outlives_a_request_are_known(op, changes):
    assert bool(_CHANGES.match(op)) is changes
