"""Bars with the time left, on a terminal, for what takes more than two seconds. Elsewhere nothing is shown.

    with progress.bar("Ranking", total=len(queries)) as advance:
        …
        advance(64)
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

_DELAY = 2.0  # seconds until a bar is shown


class _Left(ProgressColumn):
    """The time left and the speed, as far as they are known."""

    def render(self, task: Task) -> Text:
        if task.time_remaining is None:
            return Text("")
        minutes, seconds = divmod(int(task.time_remaining), 60)
        unit, speed = task.fields["unit"], task.speed or 0.0
        return Text(f"about {minutes}:{seconds:02d} left" + (f", {speed:,.0f} {unit}/s" if unit else ""))


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
    with _lock:
        task = _bars.add_task(what, total=total, visible=False, said="", unit=unit)
    timer = threading.Timer(delay, _show, [task])
    timer.daemon = True
    timer.start()
    try:
        yield functools.partial(_advance, task)
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


def _advance(task: TaskID, steps: float = 1, said: str = "") -> None:
    _bars.update(task, advance=steps, said=said)
