"""What a yaml file may get wrong is one line with the file and the line in it, whichever of PyYAML's parsers read it."""

from pathlib import Path

import pytest
import yaml

from tests.toy_runs import REPOSITORY
from videoadapt.config import yaml_files
from videoadapt.config.yaml_files import parse_yaml, read_yaml
from videoadapt.errors import ConfigError

ANCHORS = "its anchors (`*name`) stand for more than 1000000 values, or for themselves"
WRONG = {
    "a: 1\nb: 2\na: 3\n": ":3: key 'a' appears twice; keep one of them",
    "a: 1\nb: c: d\n": ":2: not valid yaml: mapping values are not allowed here",
    "a: [1\nb: 2\n": ":2: not valid yaml: expected ',' or ']', but got ':'",
    "a: *b\n": ":1: not valid yaml: found undefined alias 'b'",
    "a: 1\nb: \x01\n": ":2: not valid yaml: special characters are not allowed (U+0001)",
    "a: 1\n? [b]\n: c\n": ":2: not valid yaml: found unhashable key",
    "a: 1\nb: !!int c\n": ":2: not valid yaml: 'c' is no int",
    "a: !!bool maybe\n": ":1: not valid yaml: 'maybe' is no bool",
    "a: !!timestamp today\n": ":1: not valid yaml: 'today' is no timestamp",
    f"a: {'1' * 5000}\n": f":1: not valid yaml: '{'1' * 40}' is no int",
    "[" * 1200: ": lists or mappings are nested too deeply",
    "- " * 50_000: ": lists or mappings are nested too deeply",  # the parser in C would overflow its stack
    f"a: {'[' * 60}{']' * 60}": ": lists or mappings are nested too deeply",
    f"a: {'[' * 2000}{']' * 2000}": ": lists or mappings are nested too deeply",
    'a: "\\UFFFFFFFF"': ": not valid yaml: a character beyond U+10FFFF",
    "a: &a [*a]\n": f": {ANCHORS}",
    "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(30)): f": {ANCHORS}",
    "_BASE_: 5\n": ": _BASE_ = [5]: expected the name of a yaml file, or a list of them",
    "_BASE_: [[x]]\n": ": _BASE_ = [['x']]: expected the name of a yaml file, or a list of them",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda text: repr(text[:16]))
def test_what_is_wrong_is_one_line_with_its_place(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(tmp_path / "x.yaml")
    assert str(caught.value) == f"{(tmp_path / 'x.yaml').resolve()}{WRONG[text]}"


def test_bytes_that_are_no_text_are_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^override:1: not valid yaml: .* \(U\+DCE9\)$"):
        parse_yaml("caf\udce9", "override")  # what Python makes of a byte of the command line that is not UTF-8


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_both_parsers_read_the_same(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert yaml_files._load(yaml_files._FastLoader, text, "") == yaml_files._load(yaml_files._Loader, text, "")
    assert yaml_files._FastLoader is not yaml_files._Loader and issubclass(yaml_files._FastLoader, yaml.CSafeLoader)
