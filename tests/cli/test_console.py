"""What verbs print: the same text with colour on a terminal and without it elsewhere, and no lines of libraries."""

import os
import subprocess
import sys

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
from tfrs_twotower.cli.quiet import quiet
quiet()
import tensorflow as tf
v = tf.Variable(1.0)
@tf.function
def step(x):  # Grappler's loop optimizer has a line of Abseil's for each branch that it skips
    tf.cond(tf.constant(True), lambda: v.assign_add(x), lambda: v)
    return tf.cond(tf.constant(True), lambda: v.assign_add(x), lambda: v) + x
print(step(tf.constant(1.0)).numpy())
"""


def test_libraries_say_nothing_unless_they_are_asked():
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    for level, said in (({}, False), ({"TF_CPP_MIN_LOG_LEVEL": "1"}, True)):
        found = subprocess.run([sys.executable, "-c", _LOUD], capture_output=True, text=True, env=environment | level)
        assert (found.returncode, found.stdout) == (0, "4.0\n")
        assert ("loop_optimizer.cc" in found.stderr) == said and (said or not found.stderr), found.stderr
