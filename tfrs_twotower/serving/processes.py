"""Several processes that answer on the same two ports: each uses little more than one processor, as Python does."""

import contextlib
import logging
import math
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from tfrs_twotower import extras
from tfrs_twotower.serving.metrics import FOLDER
from tfrs_twotower.serving.ports import keep
from tfrs_twotower.serving.signals import Signals

multiprocess = extras.require("prometheus_client.multiprocess")

_SOON, _LATE = 1.0, 30.0  # seconds before a process that died is started again; they double while it dies soon
_log = logging.getLogger(__name__)


def serve_in_processes(
    command: Callable[[int, int, int], Sequence[str]], count: int, host: str, rest_port: int, grpc_port: int,
    seconds: float,
) -> int:
    """Serves until SIGTERM or SIGINT. A process that dies is started again.

    The first process starts alone, so that what is wrong with its arguments is said once. The others follow together.

    Args:
      command: a function that returns the command of a process: (its number from 1 on, REST port, gRPC port) → words.
        The process calls `take_part`, opens the ports as a `Server` with `processes=count`, and then prints a line.
      count: of processes.
      host: the address to listen on.
      rest_port, grpc_port: 0 takes any free port.
      seconds: how long a process that is asked to stop may take. Then it is killed.

    Returns:
      0, or the first exit status of a process that is not 0.

    Raises:
      CannotServe: a port is taken or out of range, or the host is unknown.
    """
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(keep(host, name, port)).getsockname()[1]
                 for name, port in (("rest_port", rest_port), ("grpc_port", grpc_port))]
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="twotower-metrics-"))
        signals = stack.enter_context(Signals())
        parts = [ServerProcess(number, command(number, *ports), {FOLDER: folder}, signals.wake)
                 for number in range(1, count + 1)]
        for part in parts:
            stack.callback(part.kill)  # if starting one fails
        for some in (parts[:1], parts[1:]):
            for part in some:
                part.start()
            while not all(part.said for part in some):
                stop = signals.wait()
                failed = [part.failed() for part in some]
                if stop or any(failed):
                    return _stop(parts, seconds) or max(failed, key=abs)
        print(*parts[0].said, f"{count} processes answer.", sep="\n", flush=True)
        while not signals.wait(min(part.seconds() for part in parts)):
            for part in parts:
                part.look_after()
        return _stop(parts, seconds)


def take_part(count: int) -> None:
    """Makes this process one of `count`: it stops when the one that started it ends. TensorFlow uses at most as many
    threads as there are processors for each, unless the environment says how many."""

    def follow() -> None:
        while os.read(0, 1):  # not by `sys.stdin`, whose lock this thread would hold when the interpreter ends
            pass
        _log.error("The process that started this one has ended, so this one ends too.")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, name="parent", daemon=True).start()
    threads = max((os.cpu_count() or 1) // count, 1)
    if "TF_NUM_INTRAOP_THREADS" not in os.environ:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    if "TF_NUM_INTEROP_THREADS" not in os.environ:
        tf.config.threading.set_inter_op_parallelism_threads(threads)


class ServerProcess:
    """One of the processes.

    Args:
      number: from 1 on, for the log.
      command: its words.
      environment: what is added to this process's.
      changed: a function that is called, in a thread, at each line that the process prints, and when it has ended.

    Attributes:
      said: the first two lines that it has printed, from "Serving" on; none before it is ready.
    """

    def __init__(
        self, number: int, command: Sequence[str], environment: Mapping[str, str], changed: Callable[[], None]
    ) -> None:
        self._number, self._command, self._changed = number, command, changed
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[str] | None = None
        self._wait, self._due = _SOON, math.inf
        self.said: list[str] = []

    def start(self) -> None:
        """Starts it, and does not wait."""
        self.said, self._due, self._begun = [], math.inf, time.monotonic()
        os.makedirs(self._environment[FOLDER], exist_ok=True)  # what cleans temporary folders may have removed it
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, errors="replace",
            env=self._environment,
        )
        for follow in (self._listen, self._await):
            threading.Thread(target=follow, args=[self._process], daemon=True).start()

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        for line in process.stdout:  # a pipe
            if len(self.said) < 2 and (self.said or line.startswith("Serving ")):
                self.said.append(line.rstrip())
                self._changed()
            else:
                print(line, end="", flush=True)

    def _await(self, process: "subprocess.Popen[str]") -> None:
        process.wait()
        self._changed()

    def ended(self) -> int | None:
        """The exit status; None while it runs, or has not been started."""
        return None if self._process is None else self._process.poll()

    def failed(self) -> int:
        """The exit status of one that has ended before it was ready; 0: it has not. The log tells, unless the process
        itself said why."""
        status = self.ended()
        if status is None:
            return 0
        if status not in (1, 2):
            _log.error("Process %d ended with status %d before it was ready.", self._number, status)
        return status or 1

    def seconds(self) -> float:
        """Until it is to be started again; infinite while it runs."""
        return max(self._due - time.monotonic(), 0.0)

    def look_after(self) -> None:
        """Starts the process again, some time after it has ended."""
        status = self.ended()
        if status is None:
            return
        now = time.monotonic()
        if self._due == math.inf:
            multiprocess.mark_process_dead(self._process.pid, self._environment[FOLDER])
            self._wait = min(2 * self._wait, _LATE) if now - self._begun < _LATE else _SOON
            self._due = now + self._wait
            _log.error("Process %d ended with status %d. It starts again in %g s.", self._number, status, self._wait)
        elif now >= self._due:
            try:
                self.start()
            except OSError as error:  # there is no memory for it, or no number
                self._due = now + _LATE
                _log.error("Process %d cannot be started: %s. The next try is in %g s.", self._number, error, _LATE)

    def stop(self) -> None:
        """Asks it to stop."""
        if self._process is not None:
            self._process.terminate()

    def wait(self, seconds: float = math.inf) -> int:
        """Its exit status, when it has ended; 0 if it was not started. After some seconds it is killed."""
        if self._process is None:
            return 0
        try:
            return self._process.wait(None if seconds == math.inf else max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            _log.error("Process %d does not stop, and is killed.", self._number)
            self.kill()
            return self._process.wait()

    def kill(self) -> None:
        """Ends it if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _stop(parts: Sequence[ServerProcess], seconds: float) -> int:
    running = [part for part in parts if part.ended() is None]
    for part in running:
        part.stop()
    deadline = time.monotonic() + seconds
    # One that still imported TensorFlow ends by the signal itself.
    statuses = [part.wait(deadline - time.monotonic()) for part in running]
    return next((status for status in statuses if status not in (0, -signal.SIGTERM)), 0)
