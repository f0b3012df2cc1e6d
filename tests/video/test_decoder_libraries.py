"""What is missing is said, or done without, in a fresh process; and no decoder grows with the files that it opens."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.frames import FILE_DECODERS, require_decoder
from tests.media import write_video
from tests.toy_runs import REPOSITORY, environment

READ = """
import logging, sys
from pathlib import Path
from videoadapt.video.decoders import open_video
logging.basicConfig(format="%(message)s", level=logging.INFO)
for path in sys.argv[2:] * 2:
    with open_video(Path(path), {"name": sys.argv[1]}) as decoder:
        print(type(decoder).__name__, decoder.num_frames, decoder.get([5, 40, 5]).shape)
"""
GROWTH = """
import sys
from pathlib import Path
from videoadapt.video.decoders import open_video
name, count, *films = sys.argv[1:]
for opened in range(1, int(count) + 1):
    with open_video(Path(films[opened % len(films)]), {"name": name}) as decoder:
        decoder.get(range(opened % 20, opened % 20 + 28, 4))
    if opened * 10 % int(count) == 0:
        print(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20)
"""
GROWTH_MIB = 20  # measured from the 120th to the 400th: 0 to 9; one frame kept of each file that is opened: over 60


def run_with(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a fresh process in which the modules in `folder` hide the installed ones."""
    path = {"PYTHONPATH": f"{folder}:{environment().get('PYTHONPATH', '')}"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, env=environment() | path, capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("error", ["ImportError('no module')", "OSError('libdecord.so: wrong ELF class')"])
def test_without_decord_pyav_reads_all_and_one_line_says_so(tmp_path: Path, error: str) -> None:
    (tmp_path / "decord").mkdir()
    (tmp_path / "decord" / "__init__.py").write_text(f"raise {error}")
    films = [write_video(tmp_path / "seek.mp4", bframes=2), write_video(tmp_path / "in_order.avi", codec="mpeg4")]
    done = run_with(tmp_path, "-c", READ, "decord", *map(str, films))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["PyAV 48 (3, 48, 64, 3)"] * 4
    (line,) = done.stderr.splitlines()
    assert line.startswith("decord hands over to pyav: decord cannot be imported (")


@pytest.mark.slow
def test_pyav_reads_all_where_decord_is_another(tmp_path: Path) -> None:
    """decord2 is imported by this name, too: it fails at sound HEVC films, which were then called damaged."""
    (tmp_path / "decord").mkdir()
    (tmp_path / "decord" / "__init__.py").write_text("__version__ = '3.4.0'")
    done = run_with(tmp_path, "-c", READ, "decord", str(write_video(tmp_path / "seek.mp4", bframes=2)))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["PyAV 48 (3, 48, 64, 3)"] * 2
    (line,) = done.stderr.splitlines()
    assert line == "decord hands over to pyav: decord is 3.4.0, and not 0.6.0, whose frames are known"


@pytest.mark.slow
def test_without_torchcodec_the_run_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "torchcodec.py").write_text("raise ImportError('no module')")
    command = ["tools/run_net.py", "--cfg", "configs/quickstart.yaml", "data.decoder.name", "torchcodec"]
    done = run_with(tmp_path, *command, "output", str(tmp_path / "out"))
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    (line,) = done.stderr.splitlines()
    assert "pip install 'videoadapt[torchcodec]'" in line and "apt-get install ffmpeg" in line and "pyav" in line


@pytest.mark.slow
def test_without_its_libraries_torchcodec_says_what_to_install(tmp_path: Path) -> None:
    """The real package, whose own loader finds none of its libraries, as it does on a machine without FFmpeg."""
    spec = find_spec("torchcodec")
    if spec is None or spec.origin is None:
        pytest.skip("torchcodec is not installed")
    shutil.copytree(Path(spec.origin).parent, tmp_path / "torchcodec", ignore=shutil.ignore_patterns("*.so"))
    command = ["tools/run_net.py", "--cfg", "configs/quickstart.yaml", "data.decoder.name", "torchcodec"]
    done = run_with(tmp_path, *command, "output", str(tmp_path / "out"))
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    (line,) = done.stderr.splitlines()
    assert "finds no FFmpeg libraries" in line and "apt-get install ffmpeg" in line


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory in use from Linux's /proc")
@pytest.mark.parametrize("name", FILE_DECODERS)
def test_memory_stays_flat_over_400_files(tmp_path: Path, name: str) -> None:
    require_decoder(name)
    size = {"height": 240, "width": 320}
    films = [
        write_video(tmp_path / "h264.mp4", bframes=2, **size),
        write_video(tmp_path / "h264.mkv", **size),
        write_video(tmp_path / "mpeg4.avi", codec="mpeg4", **size),
    ]
    done = run_with(tmp_path, "-c", GROWTH, name, "400", *map(str, films))
    assert done.returncode == 0, done.stderr
    used_mib = [float(line) for line in done.stdout.splitlines()]
    assert len(used_mib) == 10
    assert max(used_mib[3:]) - used_mib[2] < GROWTH_MIB, used_mib
