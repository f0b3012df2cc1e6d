"""What the tests ask of themselves: names to pick with `pytest -k`, files beside what they test, helpers in modules."""

import re
import socket
from pathlib import Path

import pytest

from tests.toy_runs import places

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("test_*.py"))
LONGEST_NAME = 59
NAME = re.compile(r"^ *def (test_\w+)", re.M)
# Programs that tests hold as text for other processes import as well, so this reads text and not a syntax tree.
IMPORT = re.compile(r"^ *(?:from tests\b.* import .*|import tests\b.*)$", re.M)


def breaches(text: str) -> list[str]:
    """Names too long to pick and imports of test files in the text of a test file."""
    long = [f"{name} has {len(name)} letters" for name in NAME.findall(text) if len(name) > LONGEST_NAME]
    return long + [line.strip() for line in IMPORT.findall(text) if "test_" in line]


def test_every_test_file_keeps_these_rules() -> None:
    found = [f"{path}: {breach}" for path in FILES for breach in breaches(path.read_text(encoding="utf-8"))]
    assert len(FILES) > 50 and not found, "\n".join(found)


def test_test_folders_are_those_of_the_package() -> None:
    folders = {path.relative_to(TESTS).parts[0] for path in FILES if path.parent != TESTS}
    packages = {path.name for path in (TESTS.parent / "videoadapt").iterdir()}
    assert folders - packages == {"cluster", "benchmarks"}  # a Slurm that is started here, and the benchmarks


def test_the_port_of_ranks_is_given_to_nobody_else() -> None:
    with places(2) as (first, _), socket.socket() as other:
        address = first["MASTER_ADDR"], int(first["MASTER_PORT"])
        with pytest.raises(OSError, match="in use"):
            other.bind(address)
        with socket.create_server(address):  # as the first rank does
            pass


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (f"def test_{'x' * 54}(): pass", 0),
        (f"def test_{'x' * 55}(): pass", 1),
        ("from tests.media import write_video\nfrom videoadapt.evaluation.testing import test_run", 0),
        ("from tests.video.test_decoders import load", 1),
        ("from tests.video import media, test_decoders", 1),
        ("import tests.test_golden as golden", 1),
        ('PROGRAM = """\nfrom tests.test_cache import frames\n"""', 1),
    ],
)
def test_a_breach_is_found(text: str, count: int) -> None:
    assert len(breaches(text)) == count
