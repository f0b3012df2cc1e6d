"""One thing is not `1 things`."""

import pytest

from videoadapt.errors import counted


@pytest.mark.parametrize(
    ("number", "one", "many", "said"),
    [
        (0, "video", "", "0 videos"),
        (1, "video", "", "1 video"),
        (2, "video", "", "2 videos"),
        (2, "class", "", "2 classes"),
        (1, "video is", "videos are", "1 video is"),
        (3, "video is", "videos are", "3 videos are"),
    ],
)
def test_a_number_of_things(number: int, one: str, many: str, said: str) -> None:
    assert counted(number, one, many) == said
