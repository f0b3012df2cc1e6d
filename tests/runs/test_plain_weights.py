"""What is advised where a run's model cannot begin another one: tried as it is said."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.toy_runs import toy_config, write_config
from videoadapt.cli import export, train


@pytest.mark.parametrize(
    ("adapter", "merges"), [({"name": "lora"}, True), ([{"name": "lora"}, {"name": "houlsby"}], False)]
)
def test_plain_weights_are_advised_where_they_can_be_made(
    adapter: Any, merges: bool, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def trained(name: str, **model: Any) -> int:
        training = {"train": {"epochs": 1, "batch_size": 48}, "test": {"enable": False}}
        config = toy_config(tmp_path / name, clips, model=model, **training)
        return train.main(["--cfg", str(write_config(tmp_path / f"{name}.yaml", config))])

    assert trained("run", adapter=adapter) == 0
    for left, option in (("run", "--run"), ("run/adapter.safetensors", "--adapter")):
        weights = str(tmp_path / left)
        capsys.readouterr()
        assert trained("other", adapter={"name": "bitfit"}, weights=weights) == 2
        said = capsys.readouterr().err
        advised = re.search(
            r"`videoadapt export OUT\.pth (.*)` and name those, with model\.head\.batch_norm false", said
        )
        assert (advised is not None) == merges, said
        if advised is None:
            assert "set the run's values, or name the weights of a backbone, and not what the run left" in said
            continue
        assert advised[1].split()[:2] == [option, weights]
        given = advised[1].replace(" --weights BACKBONE", "").split()  # which is drawn, and has no file
        assert export.main([str(tmp_path / "OUT.pth"), *given]) == 0
        plain = {"weights": str(tmp_path / "OUT.pth"), "head": {"batch_norm": False}}
        assert trained(f"plain {option}", adapter={"name": "bitfit"}, **plain) == 0
