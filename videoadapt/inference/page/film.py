"""Whether an upload is a film that the page takes on, and how long it is."""

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import av

from videoadapt.config.schema import Config
from videoadapt.errors import DecodeError
from videoadapt.inference.page.limits import MOST_PIXELS, Limits
from videoadapt.runs.build_data import build_view_reader
from videoadapt.video.decoders._opening import as_decode_error
from videoadapt.video.files import address_of

# FFmpeg's containers that hold all of a film. Playlists (hls, dash, concat, sdp) name other files and addresses, which it
# would open.
CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,gif,apng,ivf,obu,h264,hevc,m4v,h263,nut,rm,dv,wtv,"
    "yuv4mpegpipe"
)


class Measured(NamedTuple):
    """An upload that is a film; its rate is None where it is not known."""

    path: Path
    length_sec: float
    fps_hz: float | None


def measure(path: Path, config: Config, limits: Limits) -> Measured:
    """Look at an upload. Raises DecodeError for what is no film, and for one longer or larger than the page takes on."""
    _check_container(path)
    data = config.data.model_copy(update={"cache": "off"})
    with closing(build_view_reader(data, 1, 1).open(path)) as film:
        if film.height * film.width > MOST_PIXELS:
            raise DecodeError(f"its frames have {film.width} x {film.height} pixels; allowed: {MOST_PIXELS:,} in all")
        length_sec = film.num_frames / film.fps_hz if film.fps_hz else film.times.length_sec
        if length_sec > limits.max_sec:
            raise DecodeError(
                f"it lasts {length_sec:.0f} s; allowed: {limits.max_sec:g} s; cut it, or ask videoadapt segment about it"
            )
        return Measured(path, length_sec, film.fps_hz)


def _check_container(path: Path) -> None:
    allowed = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    with as_decode_error(path), av.open(address_of(path), metadata_errors="ignore", options=allowed):
        pass
