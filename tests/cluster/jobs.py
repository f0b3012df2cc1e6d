"""A copy of the code tree whose decoder can be slow or fail, and runs of it on Slurm: sent off, disturbed, waited for."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.toy_runs import copy_tree, environment, records, toy_config, write_config
from videoadapt.slurm.attempts import Ending, attempts, job_folders
from videoadapt.slurm.commands import ask_accounts, ask_queue

STEPS = 60
DECODER = '''
"""PyAV behind a slow disk, slower yet for test videos; on `fails_on_rank`, the 60th video is an error that nobody expects.

A process that `lingers_sec` takes so long to leave when its run has ended. No video is there before the file `after` is.
"""

import atexit
import os
import time

from videoadapt.video.decoders.pyav import PyAV as Parent
from videoadapt.registry import DECODERS

opened = 0


@DECODERS.register
class Paced(Parent):
    def __init__(
        self, path, /, *, threads: int = 1, pause_sec: float = 0.0, test_pause_sec: float = 0.0, fails_on_rank: int = -1,
        lingers_sec: float = 0.0, after: str = "",
    ):
        global opened
        if not opened:
            atexit.register(time.sleep, lingers_sec)
        opened += 1
        if opened == 60 and os.environ.get("RANK") == str(fails_on_rank):
            raise RuntimeError("the disk of this node melts")
        while after and not os.path.exists(after):
            time.sleep(0.05)
        time.sleep(pause_sec + (test_pause_sec if "/test/" in str(path) else 0.0))
        super().__init__(path, threads=threads)
'''


class Tree:
    """A working copy that jobs are submitted from, and the clips that they read."""

    def __init__(self, folder: Path):
        self.folder = folder
        copy_tree(folder)
        self.decoder = folder / "videoadapt/video/decoders/paced.py"
        self.decoder.write_text(DECODER)

    def config(self, name: str, pause_sec: float = 0.02, **decoder: Any) -> Path:
        """A config of 60 updates whose numbers do not depend on the number of ranks, with a checkpoint every 3."""
        train = {"epochs": STEPS // 6, "batch_size": 8, "checkpoint_every_steps": 3}
        config = toy_config(self.folder / "outputs" / name, self.folder / "clips", train=train)
        config["model"]["adapter"]["dropout"] = 0.0
        config["model"]["head"] = {"batch_norm": True, "sync": True, "dropout": 0.0}
        config["data"]["decoder"] = {"name": "paced", "pause_sec": pause_sec, **decoder}
        return write_config(self.folder / f"{name}.yaml", config)

    def tool(self, *arguments: str | Path, code: int = 0) -> str:
        """Run a front door of the tree, check its exit code, return what it says."""
        done = subprocess.run(
            [sys.executable, *map(str, arguments)], cwd=self.folder, text=True, timeout=300,
            env={**environment(), "PYTHONPATH": str(self.folder)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == code, f"exit code {done.returncode}, expected {code}:\n{done.stdout}"
        return done.stdout

    def submit(self, runs: "dict[str, tuple[list[str], dict[str, Any]]]") -> "dict[str, Job]":
        """Submit runs, by name with options of tools/submit.py and of their decoder; one process for all is faster."""
        commands = [["--cfg", str(self.config(name, **decoder)), *options] for name, (options, decoder) in runs.items()]
        code = "import json, sys; from videoadapt.cli.submit import main; "
        code += "sys.exit(any([main(c) for c in json.loads(sys.argv[1])]))"
        self.tool("-c", code, json.dumps(commands))
        return {name: Job(self.folder / "outputs" / name) for name in runs}


class Job:
    """A run that was submitted once, by its output folder."""

    def __init__(self, run: Path):
        self.run = run
        self.folder = job_folders(run)[0]
        self.id = self.folder.name
        self.early_status: list[str] = []

    def step(self) -> int:
        """Updates in metrics.jsonl."""
        return len(records(self.run)) if (self.run / "metrics.jsonl").exists() else 0

    def endings(self) -> list[Ending | None]:
        """How each attempt ended, None for one that has not."""
        return [attempt.ending() for attempt in attempts(self.folder)]

    def hosts(self) -> list[list[str]]:
        """Hosts of each attempt."""
        return [attempt.read()["hosts"] for attempt in attempts(self.folder)]

    def log(self, rank: int, stream: str = "err") -> str:
        """What a rank has said on stderr, or on stdout ("out"), in all attempts; "" before the first one."""
        path = self.folder / f"{self.id}_{rank}_log.{stream}"
        return path.read_text() if path.exists() else ""

    def results(self) -> dict[str, Any]:
        """results.json."""
        content: dict[str, Any] = json.loads((self.run / "results.json").read_text())
        return content

    def wait(self, expected: str = "", seconds: float = 400) -> str:
        """Wait until Slurm has ended the job for good; return the state that its accounting keeps.

        Fails with what the job has said when that state does not begin with `expected`.
        """
        not_over = ("", "RUNNING", "PENDING", "REQUEUED", "COMPLETING", "PREEMPTED")
        wait_for(lambda: not self.is_active() and ask_accounts(self.id) not in not_over, seconds, self.story)
        ended = ask_accounts(self.id)
        assert ended.startswith(expected), f"{ended}, not {expected}: {self.story()}"
        return ended

    def story(self) -> str:
        """What there is to know of it, for a failing test."""
        logs = [f"-- {path.name}\n{path.read_text()[-4000:]}" for path in sorted(self.folder.glob("*_log.*"))]
        records = [f"{path.name}: {path.read_text()}" for path in sorted(self.folder.glob("attempt_*.json"))]
        accounts = slurm(
            "sacct", "--duplicates", "--parsable2", "--jobs", self.id, "--format=JobID,State,ExitCode,Start,End"
        )
        return "\n".join([f"{self.run.name}: step {self.step()}, {ask_queue(self.id)}", accounts, *records, *logs])

    def is_active(self) -> bool:
        """True while Slurm still has it in the queue or running."""
        entry = ask_queue(self.id)
        assert entry is not None
        return entry.state in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED")


def wait_for(condition: Callable[[], bool], seconds: float, what: Callable[[], str]) -> None:
    """Look five times a second until `condition` holds; fail with `what` after so long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


def slurm(*command: str) -> str:
    """Run one of Slurm's commands."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def kill_daemon(cluster: Path, node: str) -> None:
    """SIGKILL to a node's slurmd; its steps live on."""
    os.kill(int((cluster / f"run/slurmd-{node}.pid").read_text()), signal.SIGKILL)


def kill_tasks(job: Job, node: str, with_step: bool = False) -> None:
    """SIGKILL to a job's processes on a node, and to the daemon of its steps there where the whole node is to be gone."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            mine = {f"SLURM_JOB_ID={job.id}".encode(), f"SLURMD_NODENAME={node}".encode()} <= set(variables)
            if mine and (with_step or b"submitit" in (process / "cmdline").read_bytes()):
                if with_step and "slurmstepd" in Path(f"/proc/{parent}/comm").read_text():
                    os.kill(parent, signal.SIGKILL)
                os.kill(int(process.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # just ended, or of others
            continue
