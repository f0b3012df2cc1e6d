"""A camera or a stream as it runs: frames of the last moments, kept by a thread that reads at the source's own pace.

What comes faster than real time (a film behind a URL) is held back to it. Shapes: H W pixels.
"""

import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from videoadapt.errors import ConfigError, DecodeError, counted
from videoadapt.video.decoders._opening import leave_grain_out
from videoadapt.video.decoders._orientation import orientation_of
from videoadapt.video.decoders._pictures import Pictures

PROTOCOLS = ("http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "tcp", "tls", "udp")
TIMEOUT_SEC = 10.0  # without a byte, when opened and later
CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}  # FFmpeg's names of devices

Kept = TypeVar("Kept")


class Moment(NamedTuple, Generic[Kept]):
    """One frame of a stream: its number from 0, when it is shown in seconds from the first, what is kept of it."""

    number: int
    seconds: float
    kept: Kept


class Span(NamedTuple):
    """How much of a stream is looked at: so many `frames`, or `sec` seconds."""

    frames: int | None
    sec: float = 0.0

    def holds(self, moments: "deque[Moment[Any]]", skip: int = 0) -> bool:
        """Whether these, without the first `skip` of them, are enough."""
        if self.frames is not None:
            return len(moments) - skip >= self.frames
        return len(moments) > skip + 1 and moments[-1].seconds - moments[skip].seconds >= self.sec

    def __str__(self) -> str:
        return f"{self.sec:g} s" if self.frames is None else counted(self.frames, "frame")


def without_password(source: str) -> str:
    """A URL as it may be shown."""
    return re.sub(r"(?<=://)[^/@]*@", "", source)


class Live(Generic[Kept]):
    """An open camera, by its index, or stream, by its URL, of which `keep` makes what is kept of each frame, upright RGB.

    The last `span` of it is kept. Raises ConfigError for a source that is neither, DecodeError for one that cannot be opened.
    """

    def __init__(self, source: str, keep: Callable[[np.ndarray], Kept], span: Span):
        self.name, self._keep, self.span = without_password(source), keep, span
        self._container, self._stream = _open(source, self.name)
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps_hz = float(rate) if rate else None
        self._moments: deque[Moment[Kept]] = deque()
        self._changed = threading.Condition()
        self._ended = self._stop = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._read, name="live", daemon=True)
        self._thread.start()

    def after(self, seen: int, step: int) -> list[Moment[Kept]] | None:
        """The last moments, as soon as there are enough and `step` of them, or the stream's last, came after number `seen`.

        None when there are no more. Raises DecodeError where the stream broke off, or was too short for one look.
        """
        with self._changed:
            while True:
                enough = self.span.holds(self._moments)
                if enough and self._moments[-1].number >= seen + (1 if self._ended else step):
                    return list(self._moments)
                if self._error is not None:
                    raise self._error
                if self._ended and not enough:
                    raise DecodeError(
                        f"{self.name}: ended after {counted(len(self._moments), 'frame')}; a look takes {self.span}"
                    )
                if self._ended:
                    return None
                self._changed.wait(0.2)  # and not for ever: Ctrl-C is seen in between

    @property
    def num_frames(self) -> int:
        """That have come so far."""
        with self._changed:
            return self._moments[-1].number + 1 if self._moments else 0

    def close(self) -> None:
        """Stop reading."""
        self._stop = True
        self._thread.join(TIMEOUT_SEC)
        if not self._thread.is_alive():
            self._container.close()

    def _read(self) -> None:
        error: Exception | None = None
        try:
            self._follow()
        except DecodeError as refused:
            error = refused
        except (av.FFmpegError, OSError, ValueError) as broken:
            error = DecodeError(f"{self.name}: broke off after {counted(self.num_frames, 'frame')}: {_said(broken)}")
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def _follow(self) -> None:
        pictures, laid, clock = Pictures(), None, _Clock(self.fps_hz)
        began_sec = 0.0
        for number, frame in enumerate(self._container.decode(self._stream)):
            if self._stop:
                return
            now_sec = time.monotonic()
            known = frame.pts is not None and frame.time_base is not None
            stamp_sec = float(frame.pts * frame.time_base) if known else now_sec  # type: ignore[operator]
            if laid is None:
                laid, began_sec = orientation_of(Path(self.name), frame), now_sec
            seconds = clock.seconds(stamp_sec)
            self._take(Moment(number, seconds, self._keep(laid.upright(pictures.rgb(frame), axes=(0, 1)))))
            early_sec = seconds - (time.monotonic() - began_sec)
            if early_sec > 0:
                time.sleep(min(early_sec, 1.0))

    def _take(self, moment: Moment[Kept]) -> None:
        with self._changed:
            self._moments.append(moment)
            while self.span.holds(self._moments, skip=1):
                self._moments.popleft()
            self._changed.notify_all()


class _Clock:
    """Seconds from the first frame on, which go on where the stamps of a stream jump.

    They do where a server begins anew, and over RTSP, whose first frame may have no stamp, so that it has the machine's time.
    """

    def __init__(self, fps_hz: float | None):
        self._step_sec = 1 / fps_hz if fps_hz else 0.0
        self._stamp_sec: float | None = None
        self._now_sec = 0.0

    def seconds(self, stamp_sec: float) -> float:
        """When the frame with this stamp is shown."""
        if self._stamp_sec is not None:
            step_sec = stamp_sec - self._stamp_sec
            if 0 <= step_sec <= TIMEOUT_SEC:  # a longer silence ends the stream
                self._step_sec = step_sec
            self._now_sec += self._step_sec
        self._stamp_sec = stamp_sec
        return self._now_sec


def _open(source: str, name: str) -> tuple[InputContainer, VideoStream]:
    address, format = _address(source, name)
    try:
        container = av.open(address, format=format, timeout=TIMEOUT_SEC, metadata_errors="ignore")
    except (av.FFmpegError, OSError, ValueError) as error:
        if source.isdecimal():
            raise DecodeError(
                f"{name}: cannot be opened as the camera {address}: {_said(error)}{_cameras_here()}"
            ) from error
        raise DecodeError(f"{name}: cannot be opened: {_said(error)}") from error
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream):
        container.close()
        raise DecodeError(f"{name}: has no video")
    leave_grain_out(stream)
    return container, stream


def _address(source: str, name: str) -> tuple[str, str | None]:
    """What FFmpeg opens, and as what. Raises ConfigError."""
    if source.isdecimal():
        if sys.platform not in CAMERAS:
            raise ConfigError(
                f"{source}: cameras are known by an index on Linux and macOS only; give the URL of a stream"
            )
        format, device = CAMERAS[sys.platform]
        return device.format(source), format
    protocol, colon, _ = source.partition("://")
    if not colon or protocol not in PROTOCOLS:
        raise ConfigError(
            f"{name}: neither the index of a camera nor the URL of a stream; allowed: {', '.join(PROTOCOLS)}"
        )
    return source, None


def _cameras_here() -> str:
    """Which there are, on Linux; "" elsewhere."""
    if sys.platform != "linux":
        return ""
    found = sorted(int(path.name[5:]) for path in Path("/dev").glob("video[0-9]*") if path.name[5:].isdecimal())
    return f"; cameras here: {', '.join(map(str, found)) or 'none'}"


def _said(error: Exception) -> str:
    if isinstance(error, av.ExitError):  # of our own time limit
        return f"nothing came for {TIMEOUT_SEC:g} s"
    return getattr(error, "strerror", None) or str(error)
