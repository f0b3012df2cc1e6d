"""The quickstart's promise: it learns from time alone. CI measures the whole of it; here with 100 clips a class of 250."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from tests.toy_runs import results, run

CONFIG = Path("configs/quickstart.yaml")


def freeze_first_frame(source: Path, target: Path) -> None:
    """Re-encode a video as its first frame, repeated, nearly without loss."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    with av.open(str(target), "w") as file:
        stream = file.add_stream("libx264", rate=12, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for _ in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frames[0]), format="rgb24")))
        file.mux(stream.encode())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first training renders the clips."""
    return tmp_path_factory.mktemp("quickstart") / "clips"


def train(config: Path, output: Path, root: Path) -> float:
    """Train and test on the clips in `root`; return the top-1 accuracy in percent."""
    run(config, "output", str(output), "data.root", str(root), "data.dataset.train_per_class", "100")
    return results(output)["top1"]


@pytest.mark.slow
def test_it_learns_from_motion(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top1 = train(CONFIG, tmp_path / "out", root)
    with capsys.disabled():
        print(f"\ntop-1 of AdaptMLP: {top1:.2f} %")
    assert top1 >= 72  # 80.0 where it was measured; other processors round differently
    # The same model on the same test videos, each frame replaced by the video's first: chance is 12.5 %.
    output, still = tmp_path / "out", tmp_path / "still"
    for row in (root / "test.csv").read_text().splitlines():
        name = row.rpartition(" ")[0]
        freeze_first_frame(root / name, still / name)
    shutil.copytree(output, tmp_path / "out_still")
    lists = [
        "data.dataset",
        "{name: video_list}",
        "data.test",
        str(root / "test.csv"),
        "data.classes",
        str(output / "classes.txt"),
    ]
    changed = ["output", str(tmp_path / "out_still"), "data.root", str(still), "train.enable", "false"]
    run(CONFIG, *changed, *lists)
    assert results(tmp_path / "out_still")["num_unreadable"] == 0
    assert results(tmp_path / "out_still")["top1"] <= 25


@pytest.mark.slow
def test_the_head_alone_learns_less(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top1 = train(CONFIG.with_stem("quickstart_linear"), tmp_path / "out", root)
    with capsys.disabled():
        print(f"\ntop-1 of linear probing: {top1:.2f} %")
    assert 25 <= top1 <= 52  # 45.0 where it was measured; twenty points below what AdaptMLP has at least
