"""What is known of a video file: of its best stream, and of the open file that can be decoded."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from videoadapt.video.decoders._orientation import Orientation
from videoadapt.video.times import Times


@dataclass(frozen=True)
class StreamInfo:
    """The best video stream of a file. `height` and `width` are as stored, before `orientation` lays the picture upright.

    `pts` (time stamps of all frames, ascending, in units of `time_base` seconds) and `keys` (indices of the key frames)
    are known only when seeking is exact; otherwise both are empty and `in_order_because` says why the file has to be
    read in order. `num_frames` is None where only decoding them all tells. `one_size` and `one_colour` are True when
    the pictures are known not to change their size, or their matrix and range, on the way. `film_grain`: the stream describes
    grain for players to add. `matrix` is the first one's, by its
    code in ITU-T H.273. `pixel_aspect` is the width of a stored pixel by its height, 1 where the file says nothing.
    `fps_hz` is the mean rate by the time stamps where those are known, and otherwise what the file states. `last_duration`, in
    units of `time_base`, is how long the last frame is shown, 0 where the file does not say. `even` is True of frames that
    are known to be shown equally long although their time stamps are not.
    """

    stream_index: int
    num_video_streams: int
    codec: str
    pixel_format: str
    height: int
    width: int
    orientation: Orientation
    pixel_aspect: Fraction
    matrix: int
    fps_hz: float
    time_base: Fraction
    pts: tuple[int, ...]
    keys: tuple[int, ...]
    num_frames: int | None
    in_order_because: str
    one_size: bool
    one_colour: bool
    film_grain: bool = False
    last_duration: int = 0
    even: bool = False

    @property
    def seekable(self) -> bool:
        """True when a seek to a key frame gives the same pictures as reading in order."""
        return not self.in_order_because

    @property
    def times(self) -> Times | None:
        """When each frame is shown; None where only decoding them all tells."""
        if self.pts:
            return Times.of_stamps(self.pts, self.last_duration, self.time_base, self.fps_hz)
        return Times.evenly(self.num_frames, self.fps_hz) if self.even and self.num_frames is not None else None


@dataclass(frozen=True)
class DemuxedVideo:
    """An open file. `packets` are all of the stream's in the order of the file; None where they are not known or too large,
    or where a decoder that has seen the end gives the beginning other colours.

    `stamps` are their time stamps, known when seeking is exact.
    """

    path: Path
    container: InputContainer
    stream: VideoStream
    info: StreamInfo
    stamps: list[int]
    packets: "list[Packet[VideoStream]] | None"
