"""Any two settings together are refused before the first step, or run to the end: none of them fails later."""

import copy
import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.settings import FREE_TEXT, SLOW_TO_RUN, VALUES, tiny_run
from tests.toy_runs import write_config
from videoadapt.config.loading import load_config
from videoadapt.config.schema import Config
from videoadapt.errors import VideoAdaptError
from videoadapt.runs import inputs
from videoadapt.runs.inputs import find_problems
from videoadapt.training.execution import execute

Values = dict[str, Any]  # by key of the schema; a component, a hold-out and rendered clips are one value each
SEED, NUM_RUNS = 14, 20
# No list is read otherwise for what is made of the frames of its videos.
OF_PIXELS = {
    "augment",
    "crop_px",
    "resize",
    "resize_px",
    "bar_level",
    "short_side_px",
    "jpeg_quality",
    "jpeg_decoding",
    "workers",
    "cache_gb",
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    return write_config(folder / "c.yaml", tiny_run(folder / "out", folder / "clips"))


def flat(values: dict[str, Any], model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a resolved config with its value."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from flat(values[name], inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", values[name]


def resolved(path: Path, *overrides: str) -> Values:
    return dict(flat(load_config(path, overrides).model_dump(mode="json")))


def changes(path: Path) -> Iterator[tuple[str, Values]]:
    """For every value of the table its key, and what it changes in the resolved config."""
    base = resolved(path)
    for key, value in ((key, value) for key, values in VALUES.items() for value in values):
        changed = {
            k: v
            for k, v in resolved(path, f"{key}={value if isinstance(value, str) else json.dumps(value)}").items()
            if v != base[k]
        }
        assert changed, f"{key} = {value} is what the run has anyway"
        yield key, changed


def changed(base: dict[str, Any], *several: Values) -> Config:
    values = copy.deepcopy(base)
    for key, value in itertools.chain.from_iterable(change.items() for change in several):
        *sections, last = key.split(".")
        section = values
        for name in sections:
            section = section[name]
        section[last] = value
    return Config.model_validate(values)


def test_every_key_of_the_schema_has_values(path: Path) -> None:
    there = {key if key in resolved(path) else key.rpartition(".")[0] for key in VALUES}
    assert sorted(resolved(path).keys() - there - {*FREE_TEXT}) == []


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists and models are looked at once for the same settings of them: most pairs share theirs."""

    def remember(name: str, key: Callable[[Config], list[Any]]) -> None:
        real: Callable[..., Any] = getattr(inputs, name)
        known: dict[str, tuple[Any, VideoAdaptError | None]] = {}

        def function(config: Config, *arguments: Any, **options: Any) -> Any:
            asked = json.dumps([key(config), *arguments, options])
            if asked not in known:
                try:
                    known[asked] = real(config, *arguments, **options), None
                except VideoAdaptError as error:
                    known[asked] = None, error
            result, error = known[asked]
            if error is not None:
                raise error
            return result

        monkeypatch.setattr(inputs, name, function)

    def of_lists(c: Config) -> list[Any]:
        lists = c.data.model_dump_json(exclude=OF_PIXELS)
        return [c.task, c.seed, lists, c.train.enable, c.test.enable, c.test.max_unreadable]

    def of_models(c: Config) -> list[Any]:
        decoder = c.pretrain.model_dump_json() if c.task == "pretrain" else None  # no other task builds one
        model = [c.model.model_dump_json(), decoder, c.train.freeze]
        return [c.task, *model, c.data.num_frames, c.data.crop_px]

    remember("load_splits", of_lists)
    remember("build_on_meta", of_models)


@pytest.mark.slow
def test_no_two_settings_fail_after_the_checks(path: Path, remembered: None, tmp_path: Path) -> None:
    """All pairs go through the checks, which may only refuse or accept; some of the accepted run to the end."""
    base, accepted, num_refused = load_config(path).model_dump(mode="json"), [], 0
    for (one, change), (other, more) in itertools.combinations(changes(path), 2):
        if change.keys() & more.keys():
            continue
        config = changed(base, change, more)
        if find_problems(config)[1]:
            num_refused += 1
        elif not {one, other} & {*SLOW_TO_RUN}:
            accepted.append((f"{change} and {more}", config))
    assert len(accepted) > 2_000 and num_refused > 2_000
    for number, (what, config) in enumerate(random.Random(SEED).sample(accepted, NUM_RUNS)):
        try:
            execute(config.model_copy(update={"output": tmp_path / str(number)}))
        except Exception as error:
            raise AssertionError(f"fails after the checks: {what}") from error
