"""What this user may not read is never called missing, and what is to be done is said."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer

import pytest
import torch

import videoadapt as va
from tests.frames import PYAV
from tests.media import write_video
from tests.permissions import as_permitted
from tests.toy_runs import toy_config, write_config
from videoadapt.cli import compare, demo, push, report
from videoadapt.config.loading import load_config
from videoadapt.config.shipped import find_config
from videoadapt.data.class_folders import read_class_folders
from videoadapt.data.list_files import read_classes
from videoadapt.errors import ConfigError, DecodeError, NotPermitted, VideoAdaptError
from videoadapt.evaluation import tested
from videoadapt.evaluation.robustness import read_robustness
from videoadapt.export.conversion import convert
from videoadapt.files import drop_half_line, read_jsonl
from videoadapt.log import setup_logging
from videoadapt.paths import exists, files_below, files_in, is_file, is_folder, why_unreadable
from videoadapt.runs.adapter_file import read_adapter
from videoadapt.runs.build import open_run
from videoadapt.runs.checkpoint import list_checkpoints, load_checkpoint, read_facts, save_checkpoint
from videoadapt.runs.folder import facts_of, newest_checkpoint, newest_run, read_class_names, run_config
from videoadapt.runs.inputs import find_problems
from videoadapt.runs.metrics import MetricsWriter
from videoadapt.runs.outcome import read_outcome
from videoadapt.sweeps.cell import Cell
from videoadapt.training.resume import newest_readable
from videoadapt.video.decoders import open_video
from videoadapt.weights.formats import read_weights

OF_A_CLOSED_FOLDER: dict[str, Callable[[Path], object]] = {
    "exists": exists,
    "is_file": is_file,
    "is_folder": is_folder,
    "load": va.load,
    "read_adapter": read_adapter,
    "open_run": lambda path: open_run(path, torch.device("cpu")),
    "newest_checkpoint": newest_checkpoint,
    "list_checkpoints": list_checkpoints,
    "outcome": read_outcome,
    "weights": lambda path: read_weights(str(path)),
    "create_model": lambda path: va.create_model(num_classes=2, weights=path),
    "convert": lambda path: convert(path, path.parent / "x.pth"),
    "find_config": find_config,
    "classes": read_classes,
    "class folders": read_class_folders,
}


@pytest.mark.parametrize("door", OF_A_CLOSED_FOLDER)
def test_what_lies_in_a_closed_folder(door: str, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o600)
    with pytest.raises(VideoAdaptError) as error:
        as_permitted(lambda: OF_A_CLOSED_FOLDER[door](closed / "x"))
    said = str(error.value)
    assert (
        f"{closed}/x" in said and f"for {closed} is closed to it; give that folder the permission (chmod a+x)" in said
    )
    assert "may not be looked for by user " in said and len(said.splitlines()) == 1


OF_A_CLOSED_FILE: dict[str, Callable[[Path], object]] = {
    "load": va.load,
    "read_adapter": read_adapter,
    "load_checkpoint": load_checkpoint,
    "read_facts": read_facts,
    "weights": lambda path: read_weights(str(path)),
    "classes": read_classes,
}


def cell_in(run: Path) -> Cell:
    """A cell of a sweep whose run is here."""
    config = load_config(write_config(run / "c.yaml", toy_config(run, run)))
    return Cell({}, 0, run / "c.yaml", (), config)


RESULTS = (
    '{"num_videos": 1, "num_unreadable": 0, "num_views": 1, "average": "logits", "test_list_sha256": "", "top1": 0, '
    '"trained_parameters": 1, "checkpoint": "", "readable_only": {}}'
)

OF_A_RUN: dict[str, Callable[[Path], object]] = {
    "config.yaml": run_config,
    "classes.txt": read_class_names,
    "outcome.json": read_outcome,
    "results.json": tested.Tested,
    "predictions.npz": tested.Tested,
    "metrics.jsonl": lambda run: read_jsonl(run / "metrics.jsonl"),
    "results.json of a sweep": lambda run: cell_in(run).results,
}


@pytest.mark.parametrize("name", OF_A_RUN)
def test_a_closed_file_of_a_run_is_not_to_be_moved(name: str, tmp_path: Path) -> None:
    """What was said to be moved away, deleted or replaced by a sound copy was only closed."""
    (tmp_path / "results.json").write_text(RESULTS)
    path = tmp_path / name.removesuffix(" of a sweep")
    path.touch()
    path.chmod(0)
    with pytest.raises(
        VideoAdaptError, match=rf"{path}: cannot be read.*: Permission denied; give it the permission"
    ) as said:
        as_permitted(lambda: OF_A_RUN[name](tmp_path))
    assert "away" not in str(said.value) and "delete" not in str(said.value)


OF_A_PIPE: dict[str, Callable[[Path], object]] = {
    **{
        name: read for name, read in OF_A_RUN.items() if name != "config.yaml"
    },  # of which a pipe is none: no run's folder
    "phases.jsonl, written": lambda run: drop_half_line(run / "phases.jsonl"),
    "metrics.jsonl, written": lambda run: MetricsWriter(run, 1),
    "run.log": setup_logging,
    "robustness.json": read_robustness,
    "adapter.safetensors": lambda run: read_adapter(run / "adapter.safetensors"),
    "checkpoints/best.pt": lambda run: load_checkpoint(run / "checkpoints" / "best.pt"),
    "checkpoints/best.pt, beside another": facts_of,
    "checkpoints/step_00000002.pt": newest_readable,
    "checkpoints/step_00000002.pt, its facts": facts_of,
}


@contextmanager
def let_go(path: Path, after_sec: float = 10) -> Iterator[None]:
    """Who waits in the block for the other end of a pipe gets it after a while, so that a test fails and does not hang."""

    def open_other_end() -> None:
        with suppress(OSError):  # nobody reads: O_NONBLOCK
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        waited.append(path)

    waited: list[Path] = []
    timer = Timer(after_sec, open_other_end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    assert not waited, f"{path}: was waited for"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name")
@pytest.mark.parametrize("name", OF_A_PIPE)
def test_a_pipe_in_place_of_a_runs_file_is_not_waited_for(name: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(RESULTS)
    path = tmp_path / name.partition(" of ")[0].partition(",")[0]
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    if "another" in name:  # which would do in its place
        save_checkpoint(path.with_name("step_00000001.pt"), {"step": 1})
    with let_go(path), pytest.raises(VideoAdaptError) as error:
        OF_A_PIPE[name](tmp_path)
    assert str(error.value) == f"{path}: cannot be read: is no regular file; move it away"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name")
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("metrics.jsonl", lambda run: report.main([run])),
        ("predictions.npz", lambda run: compare.main([str(Path(run).parent / "sound"), run])),
        ("results.json", lambda run: push.main([run, "hf:me/x", "--out", f"{run}/out"])),
        ("classes.txt", lambda run: demo.main(["x.mp4", "--run", run])),
    ],
)
def test_commands_on_a_run_with_a_pipe_say_one_line(
    name: str, command: Callable[[str], int], finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    (tmp_path / "sound").symlink_to(finished_run)
    (run / name).unlink()
    os.mkfifo(run / name)
    capsys.readouterr()
    with let_go(run / name):
        assert command(str(run)) == 2
    assert capsys.readouterr().err == f"error: {run / name}: cannot be read: is no regular file; move it away\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name")
def test_a_pipe_is_no_config(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.yaml")
    with let_go(tmp_path / "c.yaml"), pytest.raises(ConfigError, match=r"c\.yaml: .* is no regular file; name a file"):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize("door", OF_A_CLOSED_FILE)
def test_a_closed_file(door: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"something")
    path.chmod(0)
    with pytest.raises(VideoAdaptError, match=r"x: .*may not be read by user \S+; give it the permission \(chmod a\+r"):
        as_permitted(lambda: OF_A_CLOSED_FILE[door](path))


def test_a_closed_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "private.mp4", num_frames=3)
    path.chmod(0)
    with pytest.raises(DecodeError) as error:
        as_permitted(lambda: open_video(path, PYAV))
    assert str(error.value).startswith(f"{path}: may not be read by user ") and "chmod a+r" in str(error.value)


def test_a_closed_checkpoint_is_no_damaged_one(tmp_path: Path) -> None:
    """In the place of a damaged one the one before would do, and the closed one would be overwritten."""
    for step in (1, 2):
        save_checkpoint(tmp_path / "checkpoints" / f"step_{step:08d}.pt", {"step": step})
    newest = tmp_path / "checkpoints" / "step_00000002.pt"
    newest.chmod(0)
    with pytest.raises(NotPermitted, match=r"step_00000002\.pt: may not be read"):
        as_permitted(lambda: newest_readable(tmp_path))
    newest.chmod(0o600)
    newest.parent.chmod(0o300)
    with pytest.raises(NotPermitted, match="checkpoints: may not be read"):
        as_permitted(lambda: newest_readable(tmp_path))


def test_lists_of_files_leave_out_nothing_closed(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "x.mp4").touch()
    (tmp_path / "y.mp4").touch()
    assert files_below(tmp_path, "*.mp4") == [inner / "x.mp4", tmp_path / "y.mp4"]
    assert files_in(tmp_path, "*.mp4") == [tmp_path / "y.mp4"] and files_in(tmp_path / "none", "*") == []
    inner.chmod(0)
    for look in (lambda: files_below(tmp_path, "*.mp4"), lambda: files_in(inner, "*"), lambda: newest_run(inner)):
        with pytest.raises(NotPermitted, match=r"a/b: may not be read"):
            as_permitted(look)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "z.mp4").touch()
    with pytest.raises(NotPermitted, match="a/b: may not be read"):
        as_permitted(lambda: read_class_folders(tmp_path))


def test_all_that_is_closed_is_said_before_the_first_step(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o600)
    values = toy_config(tmp_path / "run", tmp_path, model={"weights": str(closed / "w.pth")})
    values["data"] |= {"dataset": {"name": "video_list"}, "train": str(closed / "l.csv"), "test": str(closed / "l.csv")}
    values["data"]["classes"] = str(closed / "classes.txt")
    config = load_config(write_config(tmp_path / "c.yaml", values))
    _, problems = as_permitted(lambda: find_problems(config))
    said = "\n".join(problems)
    for key in ("data.train", "data.test", "data.classes", "model.weights"):
        assert f"{key} = {closed}/" in said
    assert said.count(f"for {closed} is closed to it") == 4 and "no such" not in said and "started" not in said


def test_the_first_closed_folder_on_the_way_is_named(tmp_path: Path) -> None:
    inner = tmp_path / "closed" / "inner"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o600)
    with pytest.raises(NotPermitted, match=rf"{inner}/x: .*, for {inner.parent} is closed to it"):
        as_permitted(lambda: exists(inner / "x"))
    inner.parent.chmod(0o700)


def test_why_a_file_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    said = {name: why_unreadable(tmp_path / name) for name in ("empty", "link", "pipe", "file", ".", "none", "a\0b")}
    assert said["file"] == "" and said["."] == "is a folder; name a file" and said["pipe"] == "is no regular file"
    assert said["empty"] == "is empty (0 bytes); copy it again"
    assert said["link"] == "is a link to nowhere, which is not there; copy the file itself, or fix the link"
    assert said["none"] == "No such file or directory" and "null" in said["a\0b"]


def test_folders_are_found_below_too(tmp_path: Path) -> None:
    for name in ("d/x.mp4", "b/x.mp4", "a/x.mp4", "c/x.mp4"):
        (tmp_path / name).mkdir(parents=True)
    assert files_below(tmp_path, "*.mp4") == files_in(tmp_path, "*/*.mp4") == [tmp_path / f"{n}/x.mp4" for n in "abcd"]


def test_what_is_no_path_is_not_there(tmp_path: Path) -> None:
    for name in ("x" * 300, "a\0b", "none/x"):
        assert not exists(tmp_path / name) and not is_file(tmp_path / name) and not is_folder(tmp_path / name)
    assert is_folder(tmp_path) and exists(tmp_path) and not is_file(tmp_path)
