import base64
import json
import math

import httpx
import pytest

PREDICT = "/v1/models/toy:predict"


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server.rest_port}") as client:
        yield client


def post(client, body, path=PREDICT):
    response = client.post(path, json=body)
    return response.status_code, response.json()


def history(items, times):
    user = ["u"] if isinstance(items[0], list) else "u"
    return {"user_id": user, "history_item_id": items, "history_timestamp": times}


def test_a_history_has_a_time_for_each_item(client):
    for items, times in (([["a", "b"]], [[1, 2]]), ([[]], [[]])):
        assert post(client, {"inputs": history(items, times)})[0] == 200


def test_rows_are_answered_with_predictions_and_defaults_filled_in(client):
    status, body = post(client, {"instances": [{"user_id": "u"}, {"user_id": "v"}]})
    expected = {"ids": ["a", "b"], "scores": [7.0, 6.0]}  # k is 2 by default; 4 and 3, plus the version 3
    assert (status, body) == (200, {"predictions": [expected, expected]})


def test_columns_are_answered_with_outputs(client):
    inputs = {"user_id": ["u"], "k": 3, "exclude_ids": [["a", "c"]], "popularity_beta": 0.5}
    status, body = post(client, {"signature_name": "serving_default", "inputs": inputs})
    assert status == 200
    assert body == {"outputs": {"ids": [["b", "d", ""]], "scores": [[5.5, 3.5, -3.4028235e38]]}}


def test_rows_carry_their_own_k_and_exclusions(client):
    rows = [{"user_id": "u", "k": 1, "exclude_ids": ["a"]}, {"user_id": "v", "k": 3, "exclude_ids": ["b"]}]
    status, body = post(client, {"instances": rows})
    assert [row["ids"] for row in body["predictions"]] == [["b", "c", "d"], ["a", "c", "d"]]


def test_one_input_and_one_output_need_no_names(client):
    status, body = post(client, {"signature_name": "embed_query", "instances": ["ab", {"b64": "YWJj"}]})
    assert (status, body) == (200, {"predictions": [[2, 2], [3, 2]]})
    status, body = post(client, {"signature_name": "embed_query", "inputs": ["ab"]})
    assert (status, body) == (200, {"outputs": [[2, 1]]})
    status, body = post(client, {"signature_name": "embed_query", "inputs": {"user_id": ["ab"]}})
    assert (status, body) == (200, {"outputs": [[2, 1]]})
    status, body = post(client, {"signature_name": "held", "inputs": __file__})
    assert (status, body) == (200, {"outputs": __file__})


def test_a_float_is_written_without_noise_digits(client):
    inputs = {"user_id": ["u"], "candidate_ids": [["b", "z"]]}
    response = client.post(PREDICT, json={"signature_name": "score_pairs", "inputs": inputs})
    assert response.text == '{"outputs":[[3.2,0.2]]}'


def test_integers_booleans_and_doubles(client):
    status, body = post(client, {"signature_name": "count", "inputs": [2**53 + 1, -1]})
    assert body["outputs"]["flag"] == [True, False]
    assert body["outputs"]["half"] == [float(2**52), -0.5]
    assert isinstance(body["outputs"]["calls"][0], int)


def test_strings_that_are_not_text_come_as_base64(client):
    raw = base64.b64encode(b"\xff\x00").decode()
    status, body = post(client, {"signature_name": "odd_outputs", "inputs": [{"b64": raw}, "é"]})
    assert body["outputs"]["text"] == [{"b64": raw}, "é"]
    assert body["outputs"]["raw_bytes"] == [{"b64": raw}, {"b64": base64.b64encode("é".encode()).decode()}]


def test_nan_and_infinities_are_null(client):
    def no_constant(name):
        raise AssertionError(f"{name} is not JSON")

    inputs = {"user_id": ["n"], "k": 4}
    response = client.post(PREDICT, json={"inputs": inputs})
    outputs = json.loads(response.text, parse_constant=no_constant)["outputs"]
    assert outputs["scores"] == [[7.0, 6.0, 5.0, None]]
    response = client.post(PREDICT, json={"signature_name": "odd_outputs", "inputs": ["u"]})
    outputs = json.loads(response.text, parse_constant=no_constant)["outputs"]
    assert outputs["limits"] == [None, None]


def test_rows_need_outputs_with_the_same_rows(client):
    status, body = post(client, {"signature_name": "odd_outputs", "instances": ["u", "v"]})
    assert status == 400 and "same number of rows" in body["error"]


@pytest.mark.parametrize(
    "body, message",
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[" * 4000, "JSON"),
        (b"\xff", "JSON"),
        (b"[1]", "must be a JSON object"),
        ({}, "either 'instances' or 'inputs'"),
        ({"instances": ["u"], "inputs": ["u"]}, "either 'instances' or 'inputs'"),
        ({"instances": []}, "at least one"),
        ({"instances": "u"}, "at least one"),
        ({"instances": [{"user_id": "u"}, "v"]}, "instance 1 differs"),
        ({"instances": [{"user_id": "u"}, {"user_id": "u", "k": 1}]}, "instance 1 differs"),
        ({"instances": [1]}, "`user_id` must be strings"),
        ({"inputs": {}}, "needs the inputs ['user_id']"),
        ({"inputs": {"user_id": ["u"], "user": ["u"]}}, "Did you mean `user_id`?"),
        ({"inputs": {"user_id": [["u"]]}}, "must be a list. Received: user_id=[['u']]. Send a list: [\"u\"]."),
        ({"inputs": {"user_id": "u"}}, "`user_id` must be a list. Received: user_id='u'. Send a list: [\"u\"]."),
        ({"instances": [{"user_id": ["u"]}]}, "`user_id` must be one value. Received: user_id=['u']. Send one value: "),
        ({"inputs": {"user_id": [[["u"]]]}}, "`user_id` must have the shape ['any']"),
        ({"inputs": {"user_id": ["u", ["v"]]}}, "`user_id` must be strings"),
        ({"inputs": {"user_id": [{"b64": "!"}]}}, "broken"),
        ({"inputs": {"user_id": ["u"], "k": None}}, "NoneType"),
        (b'{"inputs": {"user_id": ["\\ud800"]}}', "surrogates not allowed"),
        (b'{"inputs": {"user_id": ["\xed\xa0\x80"]}}', "surrogates not allowed"),
        ({"inputs": {"user_id": ["u"], "exclude_ids": [["a", "b"], ["c"]]}}, "equally long"),
        ({"inputs": {"user_id": ["u"], "k": 1.5}}, "`k` must be int32"),
        ({"inputs": {"user_id": ["u"], "k": True}}, "`k` must be int32"),
        ({"inputs": {"user_id": ["u"], "k": "3"}}, "`k` must be int32"),
        ({"inputs": {"user_id": ["u"], "k": 2**40}}, "`k` must be int32, from -2147483648 to 2147483647."),
        ({"inputs": {"user_id": ["u"], "k": 0}}, "`k` must be between 1 and 5"),
        ({"inputs": {"user_id": ["u"], "k": 6}}, "`k` must be between 1 and 5"),
        ({"inputs": {"user_id": ["u"], "k": []}}, "`k` must be between 1 and 5"),
        ({"inputs": {"user_id": ["u"], "k": [[[1]]]}}, "`k` must have at most 2 dimensions"),
        ({"inputs": {"user_id": ["u"], "popularity_beta": {"b64": "YQ=="}}}, "must be float32"),
        (b'{"inputs": {"user_id": ["u"], "popularity_beta": NaN}}', "`popularity_beta` must be finite"),
        (b'{"inputs": {"user_id": ["u", "v"], "popularity_beta": [0, -Infinity]}}', "popularity_beta=-inf"),
        (b'{"inputs": {"user_id": ["u"], "popularity_beta": 1e39}}', "`popularity_beta` must be finite"),
        ({"inputs": history([["a", "b"]], [[1]])}, "a time for each of the 2 places"),
        ({"instances": [history(["a"], [1, 2])]}, "Received: history_timestamp='2 a row'"),
        ({"inputs": {"user_id": ["u"] * 2, "exclude_ids": [["a"]] * 3}}, "one row, or as many as `user_id`, which"),
        ({"inputs": {"user_id": ["u"] * 2, "popularity_beta": [0.0] * 3}}, "`popularity_beta` must have one row, or"),
        ({"inputs": {"user_id": ["u"] * 2, "popularity_beta": []}}, "Received: popularity_beta='0 rows'. Send one for"),
        ({"inputs": {"user_id": []}}, "`user_id` must have at least one row. Received: user_id='0 rows'. Send one"),
        ({"inputs": {"user_id": [], "history_item_id": []}}, "`history_item_id` must be a list of lists"),
        ({"inputs": [-1001], "signature_name": "count"}, "The model refused the request: "),
        ({"inputs": {"user_id": ["u"]}, "signature_name": 1}, "'signature_name' must be a string"),
    ],
)
def test_bad_requests_are_400_and_say_why(client, body, message):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post(PREDICT, content=content)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json"
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    "path, body, message",
    [
        ("/v1/models/other:predict", {"inputs": ["u"]}, "This server serves `toy`"),
        ("/v1/models/toy/versions/4:predict", {"inputs": ["u"]}, "Version 4 is not loaded"),
        ("/v1/models/toy/versions/x:predict", {"inputs": ["u"]}, "Versions are integers"),
        (PREDICT, {"inputs": ["u"], "signature_name": "embed_querry"}, "Did you mean `embed_query`?"),
        (PREDICT, {"inputs": {"by": 1e30}, "signature_name": "shift"}, "Signature `shift` not found"),  # it writes
        ("/v1/models/toy:guess", {}, "Unknown method"),
    ],
)
def test_what_is_not_there_is_404(client, path, body, message):
    status, answer = post(client, body, path)
    assert status == 404 and message in answer["error"]


def test_a_version_can_be_named(client):
    status, body = post(client, {"inputs": {"user_id": ["u"]}}, "/v1/models/toy/versions/3:predict")
    assert status == 200 and body["outputs"]["ids"] == [["a", "b"]]


@pytest.mark.parametrize("verb", ["classify", "regress"])
def test_methods_on_examples_are_501(client, verb):
    status, body = post(client, {"examples": []}, f"/v1/models/toy:{verb}")
    assert status == 501 and "Use :predict" in body["error"]


def test_wrong_http_methods_are_405(client):
    wrong = [client.get(PREDICT), client.put(PREDICT), client.post("/v1/models/toy"), client.post("/healthz")]
    for response in wrong:
        assert response.status_code == 405 and "error" in response.json()
    assert client.get("/v1/models/toy/versions/3:predict").status_code == 405


def test_too_many_rows_and_too_long_lists_are_413(client):
    assert post(client, {"inputs": {"user_id": ["u"] * 8}})[0] == 200
    status, body = post(client, {"inputs": {"user_id": ["u"] * 9}})
    assert status == 413 and "at most 8 rows" in body["error"]
    assert post(client, {"inputs": {"user_id": ["u"], "exclude_ids": [["a"] * 6]}})[0] == 200
    status, body = post(client, {"inputs": {"user_id": ["u"], "exclude_ids": [["a"] * 7]}})
    assert status == 413 and "at most 6 values" in body["error"]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size, status", [(4096, 200), (4097, 413), (8 << 20, 413)])
def test_the_body_is_limited_while_it_is_read(client, size, status, chunked):
    body = json.dumps({"inputs": {"user_id": ["u"]}}).encode()
    body += b" " * (size - len(body))
    content = iter([body[i : i + 1000] for i in range(0, size, 1000)]) if chunked else body
    response = client.post(PREDICT, content=content)
    assert response.status_code == status


def test_status(client):
    expected = {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("/v1/models/toy", "/v1/models/toy/versions/3"):
        assert client.get(path).json() == {"model_version_status": [expected]}
    for path in ("/v1/models/other", "/v1/models/toy/versions/4", "/v1/models/toy/versions/" + "9" * 5000):
        response = client.get(path)
        assert response.status_code == 404 and "error" in response.json()


def test_a_slash_at_the_end_is_another_path_and_no_redirect(client):
    for path in ("/healthz/", "/v1/models/toy/"):
        response = client.get(path)
        assert response.status_code == 404 and "error" in response.json()
    assert client.post(PREDICT + "/", json={}).status_code == 404


def test_metadata_shows_signatures_and_defaults(client):
    for path in ("/v1/models/toy/metadata", "/v1/models/toy/versions/3/metadata"):
        body = client.get(path).json()
        assert body["model_spec"] == {"name": "toy", "signature_name": "", "version": "3"}
        signature = body["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert signature["inputs"]["user_id"]["dtype"] == "DT_STRING"
        assert signature["inputs"]["user_id"]["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]
        assert signature["inputs"]["k"]["tensor_shape"]["unknown_rank"] is True
        assert signature["defaults"]["k"]["int_val"] == [2]
        assert sorted(signature["outputs"]) == ["ids", "scores"]
    assert "shift" not in body["metadata"]["signature_def"]["signature_def"]
    assert "shift" not in client.get("/openapi.json").text
    assert client.get("/v1/models/toy/versions/4/metadata").status_code == 404


def test_health(client):
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_metrics_count_requests_by_outcome(client):
    def value(line):
        text = client.get("/monitoring/prometheus/metrics").text
        found = [row for row in text.splitlines() if row.startswith(line + " ")]
        return float(found[0].split()[-1]) if found else 0.0

    ok = 'twotower_requests_total{method="rest:predict",signature="embed_query",status="OK"}'
    bad = 'twotower_requests_total{method="rest:predict",signature="embed_query",status="INVALID_ARGUMENT"}'
    count = 'twotower_request_seconds_count{method="rest:predict",signature="embed_query"}'
    model = 'twotower_stage_seconds_count{stage="model"}'
    before, calls = (value(ok), value(bad), value(count)), value(model)
    post(client, {"signature_name": "embed_query", "inputs": ["ab"]})
    post(client, {"signature_name": "embed_query", "inputs": [1]})
    assert (value(ok), value(bad), value(count)) == (before[0] + 1, before[1] + 1, before[2] + 2)
    assert value(model) == calls + 1
    assert value("twotower_model_version") == 3
    assert value('twotower_model_loads_total{result="available"}') == 1
    post(client, {"signature_name": "made_up", "inputs": ["ab"]})
    text = client.get("/metrics").text
    assert "made_up" not in text  # labels from outside would grow without bound
    assert math.isfinite(value('twotower_request_seconds_sum{method="rest:predict",signature="embed_query"}'))
