#!/usr/bin/env bash
# `ffmpeg -vf fps=1` writes pictures that are half a second late: number k is what was shown at k + 0.47 s of a film of 30 frames a second.
#
# The filter rounds a frame's time to the nearest step, and keeps the last frame of those that meet there, which is up to half a step behind
# that moment. Whoever takes frames out of films at a low rate, the usual way to make folders of frames, and then gives frame k the time k / rate,
# shifts every boundary of a label by half a step; against a reader that takes the frame on the screen at k / rate other pictures come out, though none
# where the film's rate is twice the wanted one or equal. `fps=1:round=up` gives the frames that are on the screen.
#
# Makes its own input with PyAV; needs Python 3.11 or newer, pip and Linux. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install av==18.1.0 numpy==2.2.6 2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
from fractions import Fraction

import av
from av.filter import Graph

SIZE = 16


def kept(film_hz, argument):
    """The numbers of the frames of a film of 120 that the filter hands on."""
    graph, numbers = Graph(), []
    source = graph.add_buffer(width=SIZE, height=SIZE, format=av.VideoFormat("gray"), time_base=Fraction(1, film_hz))
    graph.link_nodes(source, graph.add("fps", argument), graph.add("buffersink")).configure()
    for number in [*range(120), None]:
        frame = None
        if number is not None:
            frame = av.VideoFrame(SIZE, SIZE, "gray")
            frame.planes[0].update(bytes([number]) * frame.planes[0].buffer_size)
            frame.pts, frame.time_base = number, Fraction(1, film_hz)
        graph.push(frame)
        while True:
            try:
                numbers.append(bytes(graph.pull().planes[0])[0])
            except (BlockingIOError, EOFError):
                break
    return numbers


print(f"PyAV {av.__version__} on FFmpeg {av.ffmpeg_version_info}")
for film_hz, wanted_hz in ((30, 1), (30, 2), (25, 8), (24, 12)):
    for argument in (f"{wanted_hz}", f"{wanted_hz}:round=up"):
        numbers = kept(film_hz, argument)
        late = max(Fraction(number, film_hz) - Fraction(k, wanted_hz) for k, number in enumerate(numbers))
        on_screen = all(number == k * film_hz // wanted_hz for k, number in enumerate(numbers))
        said = "the frames on the screen" if on_screen else f"up to {float(late):.3f} s late"
        print(f"{film_hz} frames a second, fps={argument}: {numbers[:4]}, {said}")
PY
"$work/venv/bin/python" "$work/look.py" >"$work/seen"
cat "$work/seen"
diff - "$work/seen" <<'SEEN'
PyAV 18.1.0 on FFmpeg 8.1.2
30 frames a second, fps=1: [14, 44, 74, 104], up to 0.467 s late
30 frames a second, fps=1:round=up: [0, 30, 60, 90], the frames on the screen
30 frames a second, fps=2: [7, 22, 37, 52], up to 0.233 s late
30 frames a second, fps=2:round=up: [0, 15, 30, 45], the frames on the screen
25 frames a second, fps=8: [1, 4, 7, 10], up to 0.060 s late
25 frames a second, fps=8:round=up: [0, 3, 6, 9], the frames on the screen
24 frames a second, fps=12: [0, 2, 4, 6], the frames on the screen
24 frames a second, fps=12:round=up: [0, 2, 4, 6], the frames on the screen
SEEN
echo "as it was"
