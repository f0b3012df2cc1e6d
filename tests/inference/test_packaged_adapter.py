"""The quickstart's model that comes with the package: it knows its motions, and is what the quickstart's config makes."""

from pathlib import Path

import pytest

import videoadapt as va
from tests.toy_runs import toy_config
from videoadapt.config.loading import load_config
from videoadapt.registry import DATASETS
from videoadapt.runs.statement import Statement, differences
from videoadapt.weights.files import weights_path

NAME = "package:quickstart_adapter.safetensors"


@pytest.mark.slow
def test_it_knows_motions_that_it_has_not_seen(clips: Path) -> None:
    dataset = {**toy_config(clips, clips)["data"]["dataset"], "seed": 977, "train_per_class": 1, "test_per_class": 6}
    root = clips.parent / "unseen"
    DATASETS.build(dataset).load("test", root)  # renders them
    model = va.load(NAME, device="cpu")
    files = sorted((root / "test").glob("*/*.mp4"))
    right = [said.predictions[0].name == Path(said.video).parent.name for said in model.predict_each(files)]
    # 91 % of 2,000; 48 of chance would be 6, and less than 38 has a probability of one in a thousand
    assert len(right) == 48 and sum(right) >= 38


def test_it_is_of_the_quickstarts_config() -> None:
    model = va.load(NAME, device="cpu")
    config = load_config(Path("configs/quickstart.yaml"))
    here, there = (Statement.of(of, model.class_names, model.model).as_dict() for of in (config, model.config))
    assert not [key for key, *_ in differences(there, here)]
    assert weights_path(NAME).stat().st_size < 300_000 and len(model.class_names) == 8
