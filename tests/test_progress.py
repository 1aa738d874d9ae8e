"""Bars on a terminal, and nothing elsewhere."""

import os
import pty
import subprocess
import sys

_CODE = """
import time
from tfrs_twotower.progress import bar
with bar("Outer", delay=0), bar("Counting", 4, "users", delay=0) as advance, bar("Late", delay=60):
    for _ in range(4):
        time.sleep(0.3)
        advance(said="so far")
print("done")
"""


def _run(**kwargs):
    return subprocess.Popen([sys.executable, "-c", _CODE], **kwargs)


def test_a_terminal_shows_bars_with_the_time_left_and_the_speed():
    ours, theirs = pty.openpty()
    process = _run(stdout=theirs, stderr=theirs, env={**os.environ, "COLUMNS": "120", "TERM": "xterm"})
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the terminal's other end is closed
        pass
    assert process.wait() == 0
    for text in (b"Outer", b"Counting", b"users/s", b" left", b"so far"):
        assert text in shown
    assert b"Late" not in shown


def test_a_file_gets_nothing():
    process = _run(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.communicate() == ("done\n", "")
