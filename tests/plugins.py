"""Packages of others, installed as pip leaves them: modules, and a .dist-info with entry points."""

from collections.abc import Mapping
from pathlib import Path

# A sampler, behind imports of numpy as np, Annotated, Ge and Sampler.
OPENING = """
class Opening(Sampler):
    def __init__(self, *, skip: Annotated[int, Ge(0)] = 0):
        self.skip = skip

    def train_indices(self, num_video_frames, num_frames, rng):
        return np.minimum(self.skip + np.arange(num_frames), num_video_frames - 1)

    def test_indices(self, num_video_frames, num_frames, num_clips):
        return np.stack([self.train_indices(num_video_frames, num_frames, None)] * num_clips)
"""


def install(site: Path, name: str, entry_points: Mapping[str, str], **modules: str) -> None:
    """Put a distribution into `site`: `entry_points` are kind -> lines of its group, `modules` name -> code."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "".join(f"[videoadapt.{kind}]\n{lines}\n" for kind, lines in entry_points.items())
    )
    for module, code in modules.items():
        (site / f"{module}.py").write_text(code)
