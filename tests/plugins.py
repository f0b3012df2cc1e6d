"""Packages of others, installed as pip leaves them: modules, and a .dist-info with entry points."""

from collections.abc import Mapping
from pathlib import Path


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
