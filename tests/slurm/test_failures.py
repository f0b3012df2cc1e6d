"""Whose error it was that ended an attempt."""

import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from videoadapt import distributed
from videoadapt.slurm import failures
from videoadapt.slurm.attempts import Attempt
from videoadapt.slurm.task import _join


def test_a_taken_port_is_the_ranks_own_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(failures, "LOST_RANK_SEC", float("nan"))  # waiting for a lost rank would be an error
    watch = failures.FailureWatch(
        Attempt(tmp_path, 0), SimpleNamespace(name=lambda: "slurm", global_rank=0, num_tasks=1)
    )
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": 0, "WORLD_SIZE": 2}.items():
            monkeypatch.setenv(name, str(value))
        with pytest.raises(RuntimeError, match="EADDRINUSE"), watch.noted(), distributed.process_group():
            pass
    assert f"port: {port}" in watch.attempt.failure()["why"]
    assert "another rank has disappeared" not in capsys.readouterr().err


def test_the_rendezvous_is_no_port_of_outgoing_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux gives 32768 to 60999 to them; each attempt of a job has a port of its own."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for job in range(200):
        ports = []
        for attempt in range(4):
            environment = SimpleNamespace(
                name=lambda: "slurm", job_id=str(job), hostnames=["node1"], hostname="node1", global_rank=0,
                num_tasks=1, local_rank=0, num_nodes=1,
            )  # fmt: skip
            monkeypatch.setattr("submitit.helpers.JobEnvironment", lambda found=environment: found)
            _join(environment, attempt)
            ports.append(int(os.environ["MASTER_PORT"]))
        assert len(set(ports)) == 4 and min(ports) >= 20000 and max(ports) < 32768
