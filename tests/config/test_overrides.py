"""Overrides: text where the schema takes text, yaml elsewhere, and back to the same command line."""

import types
from pathlib import Path
from typing import Any, get_origin

import pytest
from pydantic import BaseModel

from videoadapt.config.loading import load_config
from videoadapt.config.overrides import _alternatives, as_token, parse_overrides
from videoadapt.config.schema import Config
from videoadapt.errors import ConfigError
from videoadapt.registry import ADAPTERS
from videoadapt.sweeps.schema import SweepConfig

TEXTS = [
    "W/try #1",
    "#1",
    " ",
    "2025",
    "[a] b",
    "@x",
    "a: b",
    "- x",
    "no",
    "'quoted'",
    "{half",
    "%d",
    "*",
    "&a",
    "x=y",
    " ~x",
    "1e3",
]


def fields(schema: type[BaseModel], prefix: str = "") -> list[tuple[str, set[Any]]]:
    """Every key with the types that it takes."""
    found = []
    for name, field in schema.model_fields.items():
        kinds = set(_alternatives(field.annotation))
        found.append((prefix + name, kinds))
        for kind in kinds:
            if hasattr(kind, "model_fields"):
                found += fields(kind, f"{prefix}{name}.")
    return found


def value(key: str, text: str, schema: type[BaseModel] = Config) -> Any:
    found: Any = parse_overrides([f"{key}={text}"], schema)
    for part in key.split("."):
        found = found[part]
    return found


def test_every_key_for_text_takes_the_shells_text_as_it_is() -> None:
    """Not by a list of names: whichever key of the schema takes text or a path."""
    takes_text = [(key, kinds) for key, kinds in fields(Config) if kinds & {str, Path}]
    assert {"output", "data.root", "data.val", "model.weights", "data.cache", "model.obtain"} <= {
        k for k, _ in takes_text
    }
    for key, kinds in takes_text:
        for text in TEXTS:
            expected = 2025 if text == "2025" and int in kinds else text
            assert value(key, text) == expected and type(value(key, text)) is type(expected), (key, text)
        assert value(key, "null") == (None if types.NoneType in kinds else "null"), key


def test_other_keys_stay_yaml() -> None:
    assert [value("optim.lr_per_256", text) for text in ("6e-4", "0.1")] == [6e-4, 0.1]
    assert value("train.enable", "false") is False and value("optim.betas", "[0.9, 0.95]") == [0.9, 0.95]
    assert value("data.val", "{holdout: 0.1, group: '(g[0-9]+)'}") == {"holdout": 0.1, "group": "(g[0-9]+)"}
    assert value("data.classes", "51") == 51 and value("data.classes", "51.txt") == "51.txt"
    assert value("data.val.group", "(g[0-9]+): x") == "(g[0-9]+): x"
    assert value("data", "{root: a}") == {"root": "a"}
    with pytest.raises(ConfigError, match=r"override 'train\.epochs'.*not valid yaml"):
        value("train.epochs", "[1")


@pytest.mark.parametrize("key", ["output", "data.root"])
def test_an_empty_path_is_a_variable_that_was_not_set(key: str) -> None:
    with pytest.raises(ConfigError, match=f"override '{key}': the value is empty; write `{key}=.`"):
        parse_overrides([f"{key}="])


def test_a_sweeps_own_keys_take_text_too() -> None:
    assert value("output", "W/try #1", SweepConfig) == "W/try #1" and value("seeds", "[1, 2]", SweepConfig) == [1, 2]
    assert value("data.root", "a: b", SweepConfig) == "a: b"


def test_arguments_of_components_are_read_by_their_signature(tmp_path: Path) -> None:
    @ADAPTERS.register("of_text")
    class OfText:
        def __init__(
            self,
            *,
            words: str,
            number: float = 1.0,
            either: float | str = 0.0,
            maybe: str | None = "x",
            several: list[str] | str = "x",
        ):
            pass

    (tmp_path / "c.yaml").write_text("output: o\nmodel: {adapter: {name: of_text, words: yaml}}\n")

    def adapter(*overrides: str) -> Any:
        return load_config(tmp_path / "c.yaml", overrides).model.adapter

    assert adapter("model.adapter.words=[a] #1", "model.adapter.number", "2")["words"] == "[a] #1"
    assert adapter("model.adapter.words=2025")["words"] == "2025"
    assert (
        adapter("model.adapter.either=2.5")["either"] == 2.5
        and adapter("model.adapter.either=a: b")["either"] == "a: b"
    )
    assert adapter("model.adapter.maybe=null")["maybe"] is None
    for text, meant in (("[a, b]", ["a", "b"]), ("- a", "- a"), (" [a]", ["a"])):
        assert adapter(f"model.adapter.several={text}")["several"] == meant
    both = adapter("model.adapter=[{name: of_text, words: a}, {name: lora}]", "model.adapter.0.words=@1")
    assert both[0]["words"] == "@1"
    with pytest.raises(ConfigError, match=r"model\.adapter\.number = 'many'"):
        adapter("model.adapter.number=many")


def test_a_token_is_read_back_as_its_value(tmp_path: Path) -> None:
    """What a sweep gives to its cells."""
    for key, kinds in fields(Config):
        if kinds & {str, Path}:
            assert all(value(key, as_token(key, text).partition("=")[2]) in (text, 2025) for text in TEXTS)
    for key, given in (("optim.lr_per_256", 1e-3), ("train.enable", True), ("data.val", None), ("data.classes", 5)):
        assert value(key, as_token(key, given).partition("=")[2]) == given
    given = {"name": "vit", "size": "tiny"}
    (tmp_path / "c.yaml").write_text("output: o\n")
    assert load_config(tmp_path / "c.yaml", [as_token("model.backbone", given)]).model.backbone["size"] == "tiny"
    assert as_token("model.backbone.size", "tiny") == "model.backbone.size=tiny"


def test_the_types_of_the_schema_are_all_understood() -> None:
    """A key of a new type would be read as yaml without a thought; Literal, numbers, sections and components are meant so."""
    for key, kinds in fields(Config):
        for kind in kinds - {str, Path, int, float, bool, types.NoneType}:
            assert hasattr(kind, "model_fields") or str(get_origin(kind)) in (
                "typing.Literal", "<class 'dict'>", "<class 'list'>", "<class 'tuple'>",
            ), key  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("optim.lr", "optim.lr_per_256"), ("lr", "optim.lr_per_256"), ("batch_size", "train.batch_size"),
     ("model.num_frames", "data.num_frames"), ("train.classes", "data.classes")],
)  # fmt: skip
def test_a_key_by_another_name_is_guessed(wrong: str, meant: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("output: o\n")
    with pytest.raises(ConfigError, match=f"{wrong}: unknown key; did you mean '{meant}'"):
        load_config(tmp_path / "c.yaml", [f"{wrong}=1"])


@pytest.mark.parametrize(
    ("key", "text", "shown"),
    [
        ("test.corruptions", "fog,h264", "[fog, h264]"),
        ("test.corruptions", "fog h264", "[fog, h264]"),
        ("test.corruptions", "fog", "[fog]"),
        ("train.loggers", "tensorboard,wandb", "[tensorboard, wandb]"),
        ("model.adapter.blocks", "0,1", "[0, 1]"),  # an argument of a component
        ("model.adapter.blocks", "3", "[3]"),
        ("data.crop_px", "224,320", "[224, 320]"),  # a number is allowed too
    ],
)
def test_words_for_a_list_are_shown_as_one(key: str, text: str, shown: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config("configs/hmdb51_adapt.yaml", [f"{key}={text}"])
    assert [f"{key} = " in problem and f"list; write {shown}, in" in problem for problem in error.value.problems] == [
        True
    ]


def test_every_key_for_a_list_shows_how_it_is_written() -> None:
    """Whichever key of the schema takes a list."""
    keys = [key for key, kinds in fields(Config) if any(get_origin(kind) in (list, tuple) for kind in kinds)]
    assert {"test.corruptions", "train.freeze", "optim.betas", "train.class_weights", "data.columns"} <= set(keys)
    # model.adapter is of components, whose names alone are none, and a schedule needs its name before its list
    for key in sorted({*keys} - {"model.adapter", "optim.schedule.milestones_epochs"}):
        with pytest.raises(ConfigError, match=r"write \[a, b\], in quotes on a command line"):
            load_config("configs/hmdb51_adapt.yaml", [f"{key}=a,b"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "lora",
            "expected a mapping with a `name`; write {name: lora}, in quotes on a command line; allowed: adapter_p",
        ),
        ("adaptformer,lora", "expected a list; write [{name: adaptformer}, {name: lora}], in quotes on a command line"),
        ("7", "expected a mapping with a `name`; allowed: adapter_plus"),
    ],
)
def test_a_component_by_its_word_is_shown_as_a_mapping(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config("configs/hmdb51_adapt.yaml", [f"model.adapter={text}"])
    assert said in error.value.problems[0]


def test_a_list_that_the_shell_has_torn_is_shown_whole() -> None:
    with pytest.raises(
        ConfigError, match=r"one value of test.corruptions, quote it: 'test.corruptions=\[fog, h264\]'$"
    ):
        parse_overrides(["test.corruptions=[fog,", "h264]"])
    with pytest.raises(ConfigError, match=r"with a dotted key$"):
        parse_overrides(["test.corruptions=[fog]", "h264]"])
