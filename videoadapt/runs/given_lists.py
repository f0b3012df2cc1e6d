"""A list that a user gives to a command of a run: read as the run's own are, or by what its own rows say."""

from collections.abc import Sequence
from pathlib import Path

from videoadapt.config.schema import DataConfig
from videoadapt.config.shipped import find_list
from videoadapt.data.columns import Column, has_rows_of
from videoadapt.data.list_files import read_text
from videoadapt.data.videos import VideoRows
from videoadapt.errors import DataListError
from videoadapt.runs.build_data import build_dataset


def columns_for(source: str | Path, data: DataConfig) -> Sequence[Column] | None:
    """`data.columns` for a list that has a row of them; None for one with columns of its own in its first row, or plain rows.

    Raises DataListError for a list that cannot be read, ConfigError for columns that cannot be.
    """
    if data.columns is None:
        return None
    build_dataset(data)  # an override may name other columns than the training did
    return data.columns if has_rows_of(data.columns, read_text(find_list(source))) else None


def load_given(source: str, root: Path, data: DataConfig) -> VideoRows:
    """The videos of a list with their labels. Raises DataListError."""
    columns, source = columns_for(source, data), str(find_list(source))
    videos: VideoRows
    try:
        videos = build_dataset(data.model_copy(update={"columns": columns}), source).load(source, root)
    except DataListError as error:
        if columns == data.columns:
            raise
        own = ",".join(data.columns or ())
        raise DataListError(f"{error}; the run's own lists have the columns {own} (data.columns)") from error
    return videos
