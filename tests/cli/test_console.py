"""What verbs print: the same text with colour on a terminal and without it elsewhere, and no lines of libraries."""

import os
import subprocess
import sys

from tests.serving.test_serving_access import made as certificate_in
from tfrs_twotower.cli import console

TABLE = "view  targets  model\n----  -------  -----\na     3        .2"


def test_a_file_gets_the_plain_text(capsys, monkeypatch):
    console.tables([TABLE])
    assert capsys.readouterr().out == f"\n{TABLE}\n\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    console.tables([TABLE])
    assert "\x1b[3" not in capsys.readouterr().out


def test_a_terminal_gets_colour_in_the_models_column_and_for_the_verdict(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    console.tables([TABLE])
    assert "a     3        \x1b[36m.2" in capsys.readouterr().out
    console.verdict("ndcg@10 .2, best baseline popularity .3: -.1 [-.2, -.05], worse.")
    assert "\x1b[1;31m" in capsys.readouterr().out


_LOUD = """
import sys
sys.ps1 = ">>> "  # as in a notebook, where TensorFlow sets the level of its logger by itself
from tfrs_twotower.cli.quiet import quiet
quiet()
import tensorflow as tf
v = tf.Variable(1.0)
@tf.function
def step(x):  # Grappler's loop optimizer has a line of Abseil's for each branch that it skips
    tf.cond(tf.constant(True), lambda: v.assign_add(x), lambda: v)
    return tf.cond(tf.constant(True), lambda: v.assign_add(x), lambda: v) + x
print(step(tf.constant(1.0)).numpy())
tf.get_logger().warning("of Python")
"""


def test_libraries_say_nothing_unless_they_are_asked():
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    for level, said in (({}, False), ({"TF_CPP_MIN_LOG_LEVEL": "1"}, True)):
        found = subprocess.run([sys.executable, "-c", _LOUD], capture_output=True, text=True, env=environment | level)
        assert (found.returncode, found.stdout) == (0, "4.0\n" + "WARNING:tensorflow:of Python\n" * said)
        assert ("loop_optimizer.cc" in found.stderr) == said and (said or not found.stderr), found.stderr


_PLAIN_TEXT_TO_TLS = """
import socket, sys
from concurrent import futures
from tfrs_twotower.cli.quiet import quiet
quiet()
import grpc
server = grpc.server(futures.ThreadPoolExecutor(1))
cert, key = (open(path, "rb").read() for path in sys.argv[1:])
port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, cert)]))
server.start()
with socket.create_connection(("127.0.0.1", port)) as client:
    client.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
    while client.recv(1000):
        pass
server.stop(None).wait()
"""


def test_grpc_says_nothing_of_what_a_client_does_wrong_unless_it_is_asked(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    command = [sys.executable, "-c", _PLAIN_TEXT_TO_TLS, *certificate_in(tmp_path)]
    for asked, said in (({}, False), ({"GRPC_VERBOSITY": "INFO"}, True)):
        found = subprocess.run(command, capture_output=True, text=True, env=environment | asked)
        assert found.returncode == 0 and ("Handshake failed" in found.stderr) == said, found.stderr
        assert said or not found.stderr
