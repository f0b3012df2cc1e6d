"""The walls of the house: imports point to a lower floor, files inside a package are acyclic, only cli/ prints.

The floors are read from the picture in docs/architecture.md, so the picture and this test cannot drift apart.
"""

import ast
import graphlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ROOT, HANDED_ON = "videoadapt/__init__.py", "videoadapt/api.py"
ROOT_FLOOR = -1  # everyone may read it; names of the api it hands on only when they are asked for
WITHOUT_CONFIG = ("video/", "data/", "models/", "weights/", "rendering/", "processes/", "preparing/")


def read_floors(markdown: str) -> dict[str, int]:
    """Place -> floor, from the fenced block under `## Floors`; a gap of four spaces ends the names."""
    block = re.search(r"^## Floors.*?^```\w*\n(.*?)^```", markdown, re.M | re.S)
    assert block, "no fenced block under '## Floors'"
    floors: dict[str, int] = {}
    for line in filter(str.strip, block[1].splitlines()):
        row = re.fullmatch(r"(\d+) +(\S.*?)( {4,}.*)?", line.rstrip())
        assert row, f"not 'number names': {line!r}"
        assert int(row[1]) not in floors.values(), f"floor {row[1]} is drawn twice"
        for name in row[2].split():
            assert re.fullmatch(r"[a-z_0-9]+/?", name), f"not a module or package: {name!r} in {line!r}"
            assert name not in floors, f"{name!r} is drawn twice"
            floors[name] = int(row[1])
    return floors


def module_of(path: str) -> str:
    """`videoadapt/models/adapters/__init__.py` -> `videoadapt.models.adapters`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def place_of(path: str) -> str:
    """The name in the picture: `log` for a file at the root, `models/` for all below a package, "" for the root itself."""
    parts = path.split("/")
    if parts[0] != "videoadapt":
        return parts[0] + "/"
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


def split_root(root: ast.Module) -> tuple[ast.Module, ast.Module]:
    """What `import videoadapt` runs, and what it does not: `__getattr__`, and what only type checkers and editors read."""
    lazy = [
        node
        for node in root.body
        if (isinstance(node, ast.FunctionDef) and node.name == "__getattr__")
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not node.orelse)
    ]
    return ast.Module([node for node in root.body if node not in lazy], []), ast.Module(lazy, [])


def imported_paths(tree: ast.AST, path: str, sources: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Line and path of every import that stays in the house; the longest name that is a file counts.

    A name that the root hands on counts as an import of the api.
    """
    paths = {module_of(other): other for other in sources}
    _, lazy = split_root(ast.parse(sources[ROOT]))
    paths |= {f"videoadapt.{name.rpartition('.')[2]}": HANDED_ON for _, name in imported_names(lazy, ROOT)} | paths
    for line, name in imported_names(tree, path):
        target = next((c for c in (name, name.rpartition(".")[0]) if c in paths), None)
        if target is not None:
            yield line, paths[target]
        elif name.split(".")[0] == "videoadapt":
            yield line, "videoadapt/__init__.py"
        elif name.split(".")[0] in ("tools", "benchmarks", "tests"):
            yield line, name.split(".")[0] + "/"


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
        if path == ROOT:
            tree, lazy = split_root(tree)
            others = ((line, target) for line, target in imported_paths(lazy, path, sources) if target != HANDED_ON)
            breaches += [f"{path}:{line}: hands on more than the api, {target}" for line, target in others]
        for line, target in imported_paths(tree, path, sources):
            other = place_of(target)
            if target in sources:
                graph[path].add(target)
            else:
                breaches.append(f"{path}:{line}: imports from outside the package, {target}")
            if place not in floors or other not in floors or (place == other and place.endswith("/")):
                continue
            if floors[other] >= floors[place]:
                way = "upward" if floors[other] > floors[place] else "sideways"
                breaches.append(f"{path}:{line}: imports {way}, {target}")
            if other == "config/" and place in WITHOUT_CONFIG:
                breaches.append(f"{path}:{line}: {place} knows no config, {target}")
        if place != "cli/":
            names = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "print")
            breaches += [f"{path}:{node.lineno}: print outside cli/" for node in names]
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        breaches.append(f"cycle: {' -> '.join(reversed(error.args[1]))}")
    return breaches


def test_the_house_stands() -> None:
    files = sorted((REPOSITORY / "videoadapt").rglob("*.py"))
    sources = {path.relative_to(REPOSITORY).as_posix(): path.read_text(encoding="utf-8") for path in files}
    assert "videoadapt/errors.py" in sources
    floors = read_floors((REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert not (breaches := find_breaches(sources, floors)), "\n".join(breaches)


def test_every_file_of_a_package_is_on_the_page() -> None:
    """By its name; those of the commands are the commands', and what begins with _ belongs to what is named."""
    told = set(re.findall(r"`(\w+)`?/?", (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")))
    packages = [path.parent for path in (REPOSITORY / "videoadapt").glob("*/__init__.py") if path.parent.name != "cli"]
    files = [path for package in packages for path in package.iterdir() if path.suffix in ("", ".py")]
    unnamed = [path for path in files if path.stem not in told and not path.name.startswith("_")]
    assert len(files) > 100 and not unnamed, unnamed


def test_equals_have_one_order() -> None:
    """numpy's default sort puts equal values into another order on processors with AVX-512."""
    found = {
        f"{path.name}: {line.strip()}"
        for path in (REPOSITORY / "videoadapt").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "np.argsort(" in line and 'kind="stable"' not in line
    }
    assert not found


def test_size_of_the_house() -> None:
    packages = [path for path in (REPOSITORY / "videoadapt").iterdir() if (path / "__init__.py").exists()]
    assert len(packages) <= 17
    assert len(list((REPOSITORY / "videoadapt").glob("*.py"))) <= 10


LAZY = """
from typing import TYPE_CHECKING
__version__ = "1"
if TYPE_CHECKING:
    from videoadapt.{}
def __getattr__(name):
    from videoadapt import api
    return getattr(api, name)
"""
PICTURE = """
## Floors (imports point down)
```
8  cli/                          the commands
6  api
5  runs/ report
3  video/ data/                  packages
2  config/
1  registry
0  errors
```
"""
FLOORS = read_floors(PICTURE)
SOUND = {
    "videoadapt/__init__.py": LAZY.format("api import load"),
    "videoadapt/api.py": "from videoadapt.report import R as load",
    "videoadapt/errors.py": "import re\nimport logging.handlers",
    "videoadapt/registry.py": "from videoadapt import __version__\nfrom videoadapt.errors import Oops",
    "videoadapt/config/__init__.py": "",
    "videoadapt/config/schema.py": "from videoadapt import errors",
    "videoadapt/video/__init__.py": "",
    "videoadapt/video/decoders/__init__.py": "",
    "videoadapt/video/decoders/_base.py": "from videoadapt.video.decoders._sums import total",
    "videoadapt/video/decoders/_sums.py": "from ...errors import Oops",
    "videoadapt/video/decoders/pyav.py": "from videoadapt.video.decoders import _base\nfrom ._sums import total",
    "videoadapt/video/readers.py": "from videoadapt.video.decoders.pyav import PyAV",
    "videoadapt/data/__init__.py": "",
    "videoadapt/runs/__init__.py": "",
    "videoadapt/runs/run.py": "import videoadapt.registry as r\ndef f(): from videoadapt.video.readers import read",
    "videoadapt/runs/build.py": "from .run import Run\nfrom videoadapt.config.schema import Config",
    "videoadapt/report.py": "class R:\n    def print(self): self.console.print(1)",
    "videoadapt/cli/__init__.py": "",
    "videoadapt/cli/demo.py": "from videoadapt.runs.run import f\nprint(f)",
}
DYNAMIC = "import importlib\nimportlib.import_module('videoadapt.runs.run')"
TYPE_ONLY = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from videoadapt.runs.run import Run"


def test_picture_is_read() -> None:
    assert FLOORS == {
        "cli/": 8,
        "api": 6,
        "runs/": 5,
        "report": 5,
        "video/": 3,
        "data/": 3,
        "config/": 2,
        "registry": 1,
        "errors": 0,
    }


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ("1  log\n0  log", "'log' is drawn twice"),
        ("1  log\n1  data", "floor 1 is drawn twice"),
        ("1  log  Not, a name", "not a module or package"),
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
        ("videoadapt/config/schema.py", "import videoadapt.runs.run", "schema.py:1: imports upward, videoadapt/runs/run"),
        ("videoadapt/config/schema.py", "def f():\n    from videoadapt.runs import run", "schema.py:2: imports upward"),
        ("videoadapt/config/schema.py", TYPE_ONLY, "schema.py:3: imports upward"),
        ("videoadapt/config/schema.py", DYNAMIC, "schema.py:2: imports upward"),
        ("videoadapt/config/schema.py", "from ..runs import run", "schema.py:1: imports upward"),
        ("videoadapt/config/schema.py", "from tools.demo import x", "schema.py:1: imports from outside"),
        ("videoadapt/config/schema.py", "import benchmarks.run", "schema.py:1: imports from outside"),
        ("videoadapt/__init__.py", "from videoadapt.errors import Oops", "__init__.py:1: imports upward"),
        ("videoadapt/__init__.py", "from videoadapt.api import load", "__init__.py:1: imports upward"),
        ("videoadapt/__init__.py", "def f():\n    from videoadapt import api", "__init__.py:2: imports upward"),
        ("videoadapt/__init__.py", LAZY.format("errors import Oops"), "__init__.py:5: hands on more than the api, video"),
        ("videoadapt/__init__.py", "def __getattr__(name):\n    import videoadapt.cli", "__init__.py:2: hands on more than"),
        ("videoadapt/runs/run.py", "from videoadapt import load", "run.py:1: imports upward, videoadapt/api.py"),
        ("videoadapt/runs/run.py", "from ..report import draw", "run.py:1: imports sideways, videoadapt/report.py"),
        ("videoadapt/video/readers.py", "from videoadapt.data import x", "readers.py:1: imports sideways, videoadapt/data"),
        ("videoadapt/video/readers.py", "from ..config.schema import x", "readers.py:1: video/ knows no config"),
        ("videoadapt/data/rows.py", "import videoadapt.config.schema", "rows.py:1: data/ knows no config"),
        ("videoadapt/runs/run.py", "from .build import build", "cycle: videoadapt/runs/"),
        ("videoadapt/video/decoders/_sums.py", "from ._base import x", "cycle: videoadapt/video/decoders/"),
        ("videoadapt/config/schema.py", "print(1)", "schema.py:1: print outside cli/"),
        ("videoadapt/runs/run.py", "x = 1\nlist(map(print, [x]))", "run.py:2: print outside cli/"),
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
