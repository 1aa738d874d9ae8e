"""Bars on a terminal, and nothing elsewhere."""

import os
import pty
import subprocess
import sys

import pytest
from clocks import set_clock

from tfrs_twotower import progress
from tfrs_twotower.progress import _Pace

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


def test_steps_of_minutes_have_a_time_left_and_what_comes_before_the_first_does_not_count(monkeypatch):
    now = [1000.0]  # seconds since the machine started
    set_clock(monkeypatch, progress, monotonic=lambda: now[0])
    pace, left = _Pace(), []
    for now[0], steps in ((1050.0, 1), (1140.0, 1), (1150.0, 0), (1260.0, 2)):  # 90 s for one, then 120 s for two
        if steps:
            pace.advance(steps)
        left.append(pace.left(100))
    assert left == [None, pytest.approx(98 * 90), pytest.approx(98 * 90 - 10), pytest.approx(96 * 70)]
    assert pace.left(None) is None and pace.speed == pytest.approx(3 / 210)


def test_the_first_of_few_steps_tells_the_time_left(monkeypatch):
    now = [1000.0]
    set_clock(monkeypatch, progress, monotonic=lambda: now[0])
    pace = _Pace()
    now[0] = 1030.0
    pace.advance(1)
    assert pace.left(2) == pytest.approx(30) and pace.left(20) is None
