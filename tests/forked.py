"""Commands in processes forked from one that has imported all that they need: that takes longer than what a toy run does.

To a test they are as processes that began by themselves: with a number, signals, an exit code, and files for their output.
Here in the process of the tests: `start`. There: `serve`, which forks twice, since what a process has forked only it can wait
for, and it goes on to the next command.
"""

import gc
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

IMPORTED = (
    "PIL.JpegImagePlugin",
    "fvcore.nn",
    "torch._dynamo",
    "torch.nn.parallel",
    "torch.utils.tensorboard",
    "videoadapt.cli.train",
    "videoadapt.data.datasets.synthetic",
    "videoadapt.evaluation.report.page",
    "videoadapt.evaluation.testing",
    "videoadapt.export.programs",
    "videoadapt.models.adapters.adaptformer",
    "videoadapt.models.backbones.vit",
    "videoadapt.runs.class_scores",
    "videoadapt.runs.loggers.tensorboard",
    "videoadapt.runs.confusion",
    "videoadapt.runs.curves",
    "videoadapt.training.execution",
    "videoadapt.video.decoders.decord",
    "videoadapt.video.samplers.dense",
)
SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR2)
NUMBER = struct.Struct("i")


class Forked:
    """A process of another one's, as subprocess.Popen shows its own."""

    def __init__(self, said: int):
        self._said = said
        self.returncode: int | None = None
        self.pid = self._read()

    def poll(self) -> int | None:
        """Its exit code, minus a signal's number, None while it runs."""
        if self.returncode is None and select.select([self._said], [], [], 0)[0]:
            self._end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._said], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(["forked", str(self.pid)], timeout or 0)
            self._end()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signal it, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it, unless it has ended."""
        self.send_signal(signal.SIGKILL)

    def _end(self) -> None:
        self.returncode = os.waitstatus_to_exitcode(self._read())
        os.close(self._said)

    def _read(self) -> int:
        number: int = NUMBER.unpack(os.read(self._said, NUMBER.size))[0]
        return number


def start(arguments: list[str], environ: dict[str, str], output: int) -> Forked:
    """Begin `python *arguments` in the repository, in a session of its own, with both outputs in an open file."""
    server = _server(environ["OMP_NUM_THREADS"])
    said, says = os.pipe()
    socket.send_fds(server, [json.dumps([arguments, environ]).encode()], [output, says])
    os.close(says)
    return Forked(said)


@cache
def _server(threads: str) -> socket.socket:
    """A process with the imports, which is given its number of threads before they are made; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    subprocess.Popen(
        [sys.executable, "-m", __name__, str(theirs.fileno())],
        cwd=Path(__file__).parent.parent, env={**os.environ, "OMP_NUM_THREADS": threads}, pass_fds=[theirs.fileno()],
        start_new_session=True, preexec_fn=heed_all_signals,
    )  # fmt: skip
    theirs.close()
    return ours


def heed_all_signals() -> None:
    """As from a terminal: what a shell's background job, or nohup, has ignored would be ignored in here as well."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def serve(asked: socket.socket) -> None:
    """Fork a process for each command, until nobody is left who asks."""
    for name in IMPORTED:
        import_module(name)
    gc.freeze()  # or each process would go through what is imported, and so copy it, whenever it looks for garbage
    while True:
        content, files, *_ = socket.recv_fds(asked, 2**20, 2)
        if not content:
            return
        watcher = os.fork()
        if not watcher:
            asked.close()
            _watch(*files, *json.loads(content))
            return
        for file in files:
            os.close(file)
        with suppress(ChildProcessError):  # none is left
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _watch(output: int, says: int, arguments: list[str], environ: dict[str, str]) -> None:
    """Say the number of the process that runs the command, and how it ended. Returns where that process is at its end."""
    pid = os.fork()
    if pid:
        os.write(says, NUMBER.pack(pid))
        os.write(says, NUMBER.pack(os.waitpid(pid, 0)[1]))
        os._exit(0)
    os.close(says)
    os.setsid()
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)
    os.environ.clear()
    os.environ.update(environ)
    if arguments[0] == "-m":
        sys.argv[1:] = arguments[2:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv[1:] = arguments[1:]
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
