"""Frames through filters that change what FFmpeg notes about a frame, and no pixel: notes that PyAV itself cannot change."""

from fractions import Fraction

from av.filter import Graph
from av.video.frame import VideoFrame

TICK = Fraction(1, 1000)  # in name only: time stamps pass as they are


class Chain:
    """Filters, each as (name, arguments), between a source of frames of one size and format and their sink."""

    def __init__(self, *filters: tuple[str, str]):
        self._filters = filters
        self._graph: Graph | None = None
        self._kind: tuple[int, int, str] | None = None

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """Return the frame as it comes out; it has the same planes. Raises av.FFmpegError where FFmpeg refuses it."""
        kind = frame.width, frame.height, frame.format.name
        if self._graph is None or self._kind != kind:
            self._graph, self._kind = Graph(), kind
            self._graph.threads = 1
            ends = self._graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=TICK)
            parts = [ends, *(self._graph.add(*part) for part in self._filters), self._graph.add("buffersink")]
            self._graph.link_nodes(*parts).configure()
        self._graph.push(frame)
        out = self._graph.pull()
        assert isinstance(out, VideoFrame)
        return out
