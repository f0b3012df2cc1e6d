"""The walls of the house: imports point to a lower floor, or inside a room to its `_*.py`; the package never prints.

The floors are read from the picture in docs/architecture.md, so the picture and this test cannot drift apart.
"""

import ast
import graphlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOT_FLOOR = -1  # videoadapt/__init__.py: everyone may read it, so it may import nothing of the house


def read_floors(markdown: str) -> dict[str, int]:
    """Place -> floor, from the fenced block under `## Floors`; a gap of four spaces ends the names."""
    block = re.search(r"^## Floors.*?^```\w*\n(.*?)^```", markdown, re.M | re.S)
    assert block, "no fenced block under '## Floors'"
    floors: dict[str, int] = {}
    for line in filter(str.strip, block[1].splitlines()):
        row = re.fullmatch(r"(\d+) +(\S.*?)( {4,}.*)?", line.rstrip())
        assert row, f"not 'number names': {line!r}"
        assert int(row[1]) not in floors.values(), f"floor {row[1]} is drawn twice"
        for name in row[2].replace("|", " ").split():
            assert re.fullmatch(r"[a-z_0-9]+/?|tools/\*", name), f"not a module or room: {name!r} in {line!r}"
            place = name.removesuffix("*")
            assert place not in floors, f"{place!r} is drawn twice"
            floors[place] = int(row[1])
    return floors


def module_of(path: str) -> str:
    """`videoadapt/adapters/__init__.py` -> `videoadapt.adapters`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def place_of(path: str) -> str:
    """The name in the picture: `log` for a file, `adapters/` for a file in a room, `tools/`, "" for the root."""
    parts = path.split("/")
    if parts[0] == "tools":
        return "tools/"
    if len(parts) > 2:
        return parts[1] + "/"
    return "" if parts[1] == "__init__.py" else parts[1].removesuffix(".py")


def imported_names(tree: ast.AST, path: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, wherever it stands, with relative ones resolved."""
    package = module_of(path).split(".") if path.endswith("__init__.py") else module_of(path).split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            anchor = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*anchor, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in ("import_module", "__import__"):
                yield node.lineno, str(node.args[0].value)


def imported_paths(tree: ast.AST, path: str, sources: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Line and path of every import that stays in the house; the longest name that is a file counts."""
    paths = {module_of(other): other for other in sources}
    if path.startswith("tools/"):  # a script's own folder is on its search path
        paths |= {other[len("tools/") : -len(".py")]: other for other in sources if other.startswith("tools/")}
    for line, name in imported_names(tree, path):
        target = next((c for c in (name, name.rpartition(".")[0]) if c in paths), None)
        if target is not None:
            yield line, paths[target]
        elif name.split(".")[0] == "videoadapt":
            yield line, "videoadapt/__init__.py"


def find_breaches(sources: Mapping[str, str], floors: Mapping[str, int]) -> list[str]:
    """One line for every broken wall in `sources` (path -> code)."""
    absent = floors.keys() - {place_of(path) for path in sources}
    breaches = [f"{place!r} is in the picture and nowhere else" for place in sorted(absent)]
    floors = {**floors, "": ROOT_FLOOR}
    breaches += [
        f"{path}: {place_of(path)!r} is not in the picture" for path in sources if place_of(path) not in floors
    ]
    graph: dict[str, set[str]] = {}
    for path, code in sources.items():
        tree, place = ast.parse(code, path), place_of(path)
        graph[path] = set()
        for line, target in imported_paths(tree, path, sources):
            graph[path].add(target)
            if place not in floors or place_of(target) not in floors:
                continue
            own, other = floors[place], floors[place_of(target)]
            private = place == place_of(target) and place.endswith("/") and re.search(r"/_(?!_)\w*\.py$", target)
            if other >= own and not private:
                breaches.append(f"{path}:{line}: imports {'upward' if other > own else 'sideways'}, {target}")
        if path.startswith("videoadapt/"):
            names = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "print")
            breaches += [f"{path}:{node.lineno}: print in the package" for node in names]
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        breaches.append(f"cycle: {' -> '.join(reversed(error.args[1]))}")
    return breaches


def test_the_house_stands() -> None:
    files = [path for folder in ("videoadapt", "tools") for path in sorted((ROOT / folder).rglob("*.py"))]
    sources = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}
    assert "videoadapt/errors.py" in sources
    floors = read_floors((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert not (breaches := find_breaches(sources, floors)), "\n".join(breaches)


PICTURE = """
## Floors (imports point down)
```
8  tools/*                          front doors, with | a bar
5  model  report
3  config | adapters/ | decoders/    rooms, `one` door each
1  registry
0  errors
```
"""
FLOORS = read_floors(PICTURE)
SOUND = {
    "videoadapt/__init__.py": '__version__ = "1"',
    "videoadapt/errors.py": "import re\nimport logging.handlers",
    "videoadapt/registry.py": "from videoadapt import __version__\nfrom videoadapt.errors import Oops",
    "videoadapt/config.py": "from videoadapt import errors",
    "videoadapt/adapters/__init__.py": "",
    "videoadapt/adapters/_base.py": "from videoadapt.adapters._sums import total",
    "videoadapt/adapters/_sums.py": "from ..errors import Oops",
    "videoadapt/adapters/lora.py": "from videoadapt.adapters import _base\nfrom ._sums import total",
    "videoadapt/adapters/vpt.py": "from videoadapt.adapters._base import freeze",
    "videoadapt/decoders/pyav.py": "",
    "videoadapt/model.py": "import videoadapt.registry as r\ndef f(): from videoadapt.adapters.lora import LoRA",
    "videoadapt/report.py": "class R:\n    def print(self): self.console.print(1)",
    "tools/demo.py": "from videoadapt.model import f\nprint(f)",
    "tools/train.py": "",
}
DYNAMIC = "import importlib\nimportlib.import_module('videoadapt.model')"
TYPE_ONLY = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from videoadapt.model import Model"


def test_picture_is_read() -> None:
    assert FLOORS == {
        "tools/": 8, "model": 5, "report": 5, "config": 3, "adapters/": 3, "decoders/": 3, "registry": 1, "errors": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ("1  log\n0  log", "'log' is drawn twice"),
        ("1  log\n1  data", "floor 1 is drawn twice"),
        ("1  log  Not, a name", "not a module or room"),
        ("log", "not 'number names'"),
    ],
)
def test_unclear_picture_is_refused(block: str, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        read_floors(f"## Floors\n```\n{block}\n```\n")


def test_sound_house_has_no_breach() -> None:
    assert find_breaches(SOUND, FLOORS) == []


@pytest.mark.parametrize(
    ("path", "code", "breach"),
    [
        ("videoadapt/errors.py", "from videoadapt.registry import R", "errors.py:1: imports upward, videoadapt/reg"),
        ("videoadapt/config.py", "import videoadapt.model", "config.py:1: imports upward, videoadapt/model.py"),
        ("videoadapt/config.py", "def f():\n    from videoadapt import model", "config.py:2: imports upward"),
        ("videoadapt/config.py", TYPE_ONLY, "config.py:3: imports upward"),
        ("videoadapt/config.py", DYNAMIC, "config.py:2: imports upward"),
        ("videoadapt/config.py", "from . import model", "config.py:1: imports upward"),
        ("videoadapt/config.py", "from tools.demo import x", "config.py:1: imports upward, tools/demo.py"),
        ("videoadapt/__init__.py", "from videoadapt.errors import Oops", "__init__.py:1: imports upward"),
        ("videoadapt/model.py", "from .report import draw", "model.py:1: imports sideways, videoadapt/report.py"),
        ("videoadapt/config.py", "from videoadapt.adapters._base import x", "config.py:1: imports sideways"),
        ("videoadapt/decoders/pyav.py", "from ..adapters import _base", "pyav.py:1: imports sideways"),
        ("videoadapt/adapters/vpt.py", "from videoadapt.adapters.lora import LoRA", "vpt.py:1: imports sideways"),
        ("videoadapt/adapters/vpt.py", "from . import lora", "vpt.py:1: imports sideways, videoadapt/adapters/lora.py"),
        ("videoadapt/adapters/_base.py", "from .lora import LoRA", "_base.py:1: imports sideways"),
        ("videoadapt/adapters/__init__.py", "from .lora import LoRA", "__init__.py:1: imports sideways"),
        ("tools/train.py", "import demo", "train.py:1: imports sideways, tools/demo.py"),
        ("videoadapt/adapters/_sums.py", "from ._base import x", "cycle: videoadapt/adapters/"),
        ("videoadapt/config.py", "print(1)", "config.py:1: print in the package"),
        ("videoadapt/config.py", "x = 1\nlist(map(print, [x]))", "config.py:2: print in the package"),
        ("videoadapt/helpers.py", "", "helpers.py: 'helpers' is not in the picture"),
        ("videoadapt/datasets/a.py", "", "datasets/a.py: 'datasets/' is not in the picture"),
        ("videoadapt/registry/__init__.py", "", "'registry/' is not in the picture"),
    ],
)  # fmt: skip
def test_each_broken_wall_is_found(path: str, code: str, breach: str) -> None:
    breaches = find_breaches({**SOUND, path: code}, FLOORS)
    assert any(breach in line for line in breaches), breaches


def test_a_name_that_is_only_drawn_is_found() -> None:
    assert find_breaches(SOUND, {**FLOORS, "launch": 7}) == ["'launch' is in the picture and nowhere else"]
