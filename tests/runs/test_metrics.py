"""Records of a run resume where its checkpoint does, whatever a killed process or a person left in the files."""

import shutil
import time
from pathlib import Path

import pytest

from tests.toy_runs import toy_config, write_config
from videoadapt.files import read_jsonl
from videoadapt.runs.feeds import Loggers
from videoadapt.runs.metrics import MetricsWriter

SOUND = [{"kind": "train", "step": step, "loss": 0.5} for step in (1, 2, 3)]


def resumed(folder: Path, text: str, step: int) -> list[int]:
    """Steps in metrics.jsonl after a run has resumed from `step` and has made one more."""
    (folder / "metrics.jsonl").write_text(text)
    writer = MetricsWriter(folder, step)
    writer.metrics("train", step + 1, loss=0.25)
    writer.close()
    return [record["step"] for record in read_jsonl(folder / "metrics.jsonl", "kind", "step")]


def test_tensorboard_alone_on_a_full_disk_ends_no_run(
    small_disk: Path, tmp_path: Path, log_lines: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").symlink_to(small_disk)
    write_config(tmp_path / "config.yaml", toy_config(tmp_path, tmp_path))
    loggers = Loggers(tmp_path, [{"name": "tensorboard"}])
    writer = MetricsWriter(tmp_path, 0, loggers)
    (small_disk / "ballast").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    for step in range(1, 2001):
        writer.metrics("train", step, loss=0.5)
        if any("tensorboard gets no further" in text for text in log_lines):
            break
        time.sleep(0.001)  # its thread writes
    writer.metrics("train", step + 1, loss=0.5)
    writer.close()
    loggers.__exit__(None, None, None)
    assert [text for text in log_lines if "cannot be written (No space left on device)" in text]
    assert len(read_jsonl(tmp_path / "metrics.jsonl")) == step + 1 > 2
    assert "Traceback" not in capfd.readouterr().err


def line(step: int) -> str:
    return f'{{"kind": "train", "step": {step}, "loss": 0.5}}\n'


@pytest.mark.parametrize(
    "damage", ["7\n", "{}\n", '{"step": "2"}\n', "\0\0\0\n", "[" * 10**5 + "\n", "9" * 5000 + "\n", '{"kind": "tra\n']
)
def test_a_damaged_line_blocks_no_resume(damage: str, tmp_path: Path, log_lines: list[str]) -> None:
    assert resumed(tmp_path, line(1) + damage + line(2) + line(3), 2) == [1, 2, 3]
    said = "1 damaged line up to step 2 left out; the curves have gaps there"
    assert [text for text in log_lines if "damaged" in text] == [f"WARNING {tmp_path}/metrics.jsonl: {said}"]


def test_what_is_later_and_half_a_line_go_without_a_word(tmp_path: Path, log_lines: list[str]) -> None:
    assert resumed(tmp_path, line(1) + line(2) + line(3) + '{"kind": "tr', 2) == [1, 2, 3]
    assert resumed(tmp_path, line(1) + line(2) + line(3)[:-1], 3) == [1, 2, 4]
    assert not [text for text in log_lines if "damaged" in text]
