"""Bars with the time left, on a terminal, for what takes more than two seconds. Elsewhere nothing is shown.

    with progress.bar("Ranking", total=len(queries)) as advance:
        …
        advance(64)
"""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

_DELAY = 2.0  # seconds until a bar is shown


class _Pace:
    """The steps of a task, and their mean speed since the first was said: what comes before it is preparation.

    Rich has the speed of the last half minute alone, and so none where a step takes longer.
    """

    def __init__(self) -> None:
        self._begun = self.latest = time.monotonic()
        self.done = self._before = 0.0

    def advance(self, steps: float) -> None:
        """So many steps more are done."""
        if not self._before:  # 0 until some are said for the second time
            self._begun, self._before = (self.latest, self.done) if self.done else (self._begun, 0.0)
        self.done, self.latest = self.done + steps, time.monotonic()

    @property
    def speed(self) -> float:
        """Steps a second; until some are said for the second time, since the beginning."""
        return (self.done - self._before) / max(self.latest - self._begun, 1e-9)

    def left(self, total: float | None) -> float | None:
        """Seconds; None if they are not known: before a twentieth is done, the first steps may be a preparation's."""
        if total is None or not (self._before or self.done > total / 20):
            return None
        return max((total - self.done) / self.speed - (time.monotonic() - self.latest), 0.0)


class _Left(ProgressColumn):
    """The time left and the speed, as far as they are known."""

    def render(self, task: Task) -> Text:
        pace: _Pace = task.fields["pace"]
        left, unit, said = pace.left(task.total), task.fields["unit"], []
        if left is not None:
            said.append("about {}:{:02d} left".format(*divmod(round(left), 60)))
        if pace.speed and unit:
            said.append(f"{pace.speed:,.0f} {unit}/s")
        return Text(", ".join(said))


_console = Console(stderr=True)
_lock = threading.Lock()
_bars = Progress(
    TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), _Left(), TextColumn("{task.fields[said]}"),
    console=_console, transient=True,
)


@contextlib.contextmanager
def bar(what: str, total: float | None = None, unit: str = "", delay: float = _DELAY) -> Iterator[Callable[..., None]]:
    """Shows a bar while the block runs. Bars may be nested, and threads may have their own.

    Args:
      what: takes time, as "Ranking".
      total: of the steps; None: unknown, so that no time left can be told.
      unit: of the steps, to show how many a second are done; "" shows it not.
      delay: the seconds after which it is shown.

    Yields:
      `advance(steps=1, said="")`: says how many steps more are done, and a text to show beside the bar.
    """
    if not _console.is_terminal:
        yield unseen
        return
    pace = _Pace()
    with _lock:
        task = _bars.add_task(what, total=total, visible=False, said="", unit=unit, pace=pace)
    timer = threading.Timer(delay, _show, [task])
    timer.daemon = True
    timer.start()
    try:
        yield functools.partial(_advance, task, pace)
    finally:
        timer.cancel()
        with _lock:
            _bars.remove_task(task)
            if not any(other.visible for other in _bars.tasks):
                _bars.stop()


def unseen(steps: float = 1, said: str = "") -> None:
    """The `advance` of a bar that is not shown."""


def _show(task: TaskID) -> None:
    with _lock:
        if task in _bars.task_ids:
            _bars.update(task, visible=True)
            _bars.start()


def _advance(task: TaskID, pace: _Pace, steps: float = 1, said: str = "") -> None:
    if steps:
        pace.advance(steps)
    _bars.update(task, advance=steps, said=said)
