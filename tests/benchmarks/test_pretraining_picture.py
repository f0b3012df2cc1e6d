"""The picture of what pre-training changes shows what the tables in docs say."""

import csv
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import pretraining_picture
from tests.toy_runs import REPOSITORY

TABLE = REPOSITORY / "docs/pretraining.csv"


def test_the_picture_is_of_numbers_in_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "".join((REPOSITORY / "docs" / name).read_text() for name in ("benchmarks.md", "image_models.md"))
    with TABLE.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 17 and all(f"{row['top1']} ± {row['spread']}" in told for row in rows)
    monkeypatch.setattr("sys.argv", ["pretraining_picture", str(TABLE), str(tmp_path / "drawn.png")])
    pretraining_picture.main()
    assert Image.open(tmp_path / "drawn.png").size == (1500, 690)
