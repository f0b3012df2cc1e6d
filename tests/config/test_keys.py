"""Every key of a config says what another value alters, and a change of it is treated so."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from videoadapt.config.keys import alters, keys_that_alter, marked_keys
from videoadapt.config.loading import load_config
from videoadapt.config.marks import Alters
from videoadapt.config.schema import Config
from videoadapt.errors import ConfigError
from videoadapt.training.resume import check_may_resume


def leaves(section: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """Every key that holds no section."""
    found: list[str] = []
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += leaves(inner, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found


def test_every_key_says_what_it_alters() -> None:
    assert not [key for key, mark in marked_keys() if mark is None]
    marked = {key for key, _ in marked_keys()}
    under = [key for key in leaves() if key not in marked and not any(key.startswith(f"{part}.") for part in marked)]
    assert not under and len(leaves()) > 60


def test_a_key_without_a_mark_is_found() -> None:
    class Bare(BaseModel):
        size: int = 1

    class Outer(BaseModel):
        bare: Bare = Bare()

    assert list(marked_keys(Outer)) == [("bare.size", None)]


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("data.workers", Alters.NOTHING),
        ("test.batch_size", Alters.SCORES | Alters.PREDICTION),
        ("data.augment.flip", Alters.UPDATES),
        ("data.val.holdout", Alters.UPDATES),
        ("data.decoder.threads", Alters.UPDATES | Alters.PREDICTION),
        ("model.adapter.1.rank", Alters.UPDATES | Alters.PREDICTION | Alters.FUNCTION),
        ("data.sampling.stride_frames", Alters.UPDATES | Alters.PREDICTION | Alters.PASS),
        ("test.clips", Alters.SCORES | Alters.PREDICTION | Alters.PASS),
        ("data.of_an_older_version", Alters.UPDATES),
    ],
)
def test_what_a_key_alters(key: str, what: Alters) -> None:
    assert alters(key) == what


def test_what_all_adapters_of_a_pass_share_is_in_their_files() -> None:
    kept = keys_that_alter(Alters.PREDICTION)
    assert set(keys_that_alter(Alters.PASS)) < set(kept)
    assert "model.head.batch_norm" in kept and "model.weights" not in kept and "output" not in kept


@pytest.mark.parametrize("key", leaves())
def test_a_run_resumes_unless_its_updates_change(key: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("output: o\n")
    before, now = (load_config(tmp_path / "x.yaml").model_dump(mode="json") for _ in range(2))
    *sections, name = key.split(".")
    holder: dict[str, Any] = now
    for section in sections:
        holder = holder[section]
    holder[name] = "another"
    if Alters.UPDATES in alters(key):
        with pytest.raises(ConfigError, match=rf" {key}: "):
            check_may_resume("strict", before, now, tmp_path)
    else:
        assert check_may_resume("strict", before, now, tmp_path) == []


LATER = (
    "model.head.init_scale",
    "data.augment.cutmix_box",
    "optim.warmup_peak",
    "pretrain.mask_token_cut",
    "pretrain.decoder_mask_ratio",
    "optim.schedule",
    "optim.options",
    "train.validate_clips",
    "train.validate_crops",
    "train.stop_early",
)


@pytest.mark.parametrize("key", [*LATER, "optim.betas"])
def test_a_key_that_came_later_was_at_its_default(key: str, tmp_path: Path) -> None:
    """A run of before resumes with the same meaning, and is refused with another."""
    (tmp_path / "x.yaml").write_text("output: o\n")
    before, now = (load_config(tmp_path / "x.yaml").model_dump(mode="json") for _ in range(2))
    *sections, name = key.split(".")
    holders: list[dict[str, Any]] = [before, now]
    for section in sections:
        holders = [holder[section] for holder in holders]
    del holders[0][name]
    assert check_may_resume("strict", before, now, tmp_path) == []
    holders[1][name] = "another"
    with pytest.raises(ConfigError, match=rf" {key}: "):
        check_may_resume("strict", before, now, tmp_path)
