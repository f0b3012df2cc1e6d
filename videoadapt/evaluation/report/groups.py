"""Which test videos belong together: pieces of one film, as the run's own config says where it keeps them apart."""

from collections.abc import Sequence
from contextlib import suppress

from videoadapt.config.schema import Config, Holdout
from videoadapt.data.folds import group_names
from videoadapt.errors import DataListError
from videoadapt.video.part import film_or_part


def groups_of(config: Config, ids: Sequence[str]) -> list[str] | None:
    """The group of each video: by the regex of `data.val.group` or `data.dataset.group`, else parts by their film.

    None where each video is a group of its own, or where the regex, made for another list, finds nothing in a test video.
    """
    own = config.data.dataset.get("group")
    if isinstance(config.data.val, Holdout) and config.data.val.group:
        own = config.data.val.group
    found = [str(getattr(film_or_part(name), "path", name)) for name in ids]
    if own:
        with suppress(DataListError):
            found = group_names(ids, own, "group")
    return found if 1 < len(set(found)) < len(ids) else None
