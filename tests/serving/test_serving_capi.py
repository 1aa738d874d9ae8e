import numpy as np
import pytest

from tests.serving import capi, toy_export


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return capi.compile_loader(tmp_path_factory.mktemp("capi"))


@pytest.fixture(scope="module")
def export(tmp_path_factory, publish):
    return publish(tmp_path_factory.mktemp("portable"), 3)


def test_a_portable_export_runs_without_python_and_its_defaults_are_in_the_graph(program, export):
    found = capi.run(program, export, {"user_id": ["u", "é 1"]})
    assert found["ids"].tolist() == [[b"a", b"b"]] * 2
    np.testing.assert_array_equal(found["scores"], np.float32([[7, 6]] * 2))
    inputs = {"user_id": [""], "k": np.int32(3), "exclude_ids": [["a", "c"]]}
    inputs["popularity_beta"] = np.float32(0.5)
    found = capi.run(program, export, inputs)
    assert found["ids"].tolist() == [[b"b", b"d", b""]]
    np.testing.assert_array_equal(found["scores"], np.float32([[5.5, 3.5, toy_export.LOWEST]]))


def test_other_signatures_and_errors(program, export):
    found = capi.run(program, export, {"user_id": ["é", ""]}, "embed_query")
    assert found["embedding"].tolist() == [[2, 2], [0, 2]]
    with pytest.raises(RuntimeError, match="no signature guess"):
        capi.run(program, export, {}, "guess")
    with pytest.raises(RuntimeError, match="no input user"):
        capi.run(program, export, {"user": ["u"]})
    with pytest.raises(RuntimeError, match="TF_SessionRun"):
        capi.run(program, export, {})


def test_a_scann_export_runs_with_scanns_op_library_and_not_without(program, tmp_path):
    library = capi.scann_library()
    vectors = np.eye(16, 8, dtype=np.float32) + np.eye(16, 8, k=-8, dtype=np.float32) / 2
    export = toy_export.write_scann(tmp_path, 1, vectors)
    inputs = {"query": vectors[:2], "k": np.int32(2)}
    found = capi.run(program, export, inputs, op_library=library)
    assert found["ids"].tolist() == [[b"0", b"8"], [b"1", b"9"]]
    np.testing.assert_allclose(found["scores"], [[1.0, 0.5], [1.0, 0.5]])
    with pytest.raises(RuntimeError, match="Scann"):
        capi.run(program, export, inputs)
