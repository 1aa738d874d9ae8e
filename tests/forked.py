"""Real processes that start at once: forked from one that has imported TensorFlow and the package, and nothing else.

A test that kills, stops or resumes a process needs one of its own. A new interpreter would import TensorFlow first,
which takes three seconds.
"""

import concurrent.futures
import importlib
import multiprocessing
import os
import subprocess
import sys

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([
    "without_grammars", "tfrs_twotower.cli.training", "tfrs_twotower.report.charts", "tfrs_twotower.serving",
])


class Forked:
    """`subprocess.Popen` for a function: `Forked("module:function", …)`. What it prints is text in `stdout`, `stderr`.

    Args:
      target: a function in a module that can be imported. Its process exits with the status that it returns.
      arguments: of the function; they are pickled.
      environment: what is added to this process's environment.
      quiet: True throws away what it prints.
    """

    def __init__(self, target, *arguments, environment=(), quiet=False):
        (out, out_end), (err, err_end) = (_context.Pipe(duplex=False) for _ in "oe")
        environment = {**os.environ, **dict(environment)}
        self._process = _context.Process(
            target=_run, args=(target, arguments, environment, out_end, err_end, quiet), daemon=True
        )
        self._process.start()
        out_end.close(), err_end.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(end.fileno())) for end in (out, err))
        out.close(), err.close()
        self.pid, self.kill, self.terminate = self._process.pid, self._process.kill, self._process.terminate

    @property
    def returncode(self):
        """As `subprocess.Popen` has it."""
        return self._process.exitcode

    def poll(self):
        """As of `subprocess.Popen`."""
        return self.returncode

    def wait(self, timeout=None):
        """As of `subprocess.Popen`."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout)
        return self.returncode

    def communicate(self, timeout=None):
        """As of `subprocess.Popen`."""
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            found = [threads.submit(file.read) for file in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            return tuple(text.result() for text in found)

    def send_signal(self, number):
        """As of `subprocess.Popen`."""
        os.kill(self.pid, number)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stdout.close(), self.stderr.close()
        self.wait()


def twotower(*arguments, **kwargs):
    """The process of `twotower …`; `kwargs` are those of `Forked`."""
    return Forked("tfrs_twotower.cli.main:main", [str(argument) for argument in arguments], **kwargs)


def kernel(folder, arguments):
    """A kernel of Jupyter that runs in a folder; the work of a process of its own."""
    from ipykernel.kernelapp import IPKernelApp

    os.chdir(folder)
    IPKernelApp.launch_instance(argv=arguments)


def _run(target, arguments, environment, out, err, quiet):
    os.environ.clear()
    os.environ.update(environment)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for end, descriptor in ((out, 1), (err, 2)):
        os.dup2(nowhere if quiet else end.fileno(), descriptor)
        end.close()
    module, _, function = target.partition(":")
    sys.exit(getattr(importlib.import_module(module), function)(*arguments))
