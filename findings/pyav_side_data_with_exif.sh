#!/usr/bin/env bash
# PyAV 18's `frame.side_data` raises "ValueError: 31 is not a valid Type" for every JPEG, PNG and WebP with EXIF data.
#
# FFmpeg 8 hands EXIF on as a kind of side data that PyAV's enum does not list, and one kind that is not listed takes all the
# others away: the display matrix cannot be read, which is the only place that says whether such a picture (a frame of a folder of
# frames, of an MJPEG video) is mirrored. The kinds 28 to 30 (LCEVC, view number, reference displays of stereo recordings)
# are missing from the enum as well. The filter `sidedata=mode=delete:type=31` makes the rest readable.
#
# Makes its own input; needs Python 3.10 or newer, pip and Linux on x86. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install \
    av==18.1.0 pillow==11.3.0 numpy==2.2.6 2>"$work/pip" || { cat "$work/pip"; exit 1; }

cat >"$work/look.py" <<'PY'
import sys
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type
from PIL import Image

picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
exif = picture.getexif()
exif[0x0112] = 2  # mirrored
print(f"PyAV {av.__version__} on FFmpeg {av.ffmpeg_version_info}, side data known up to {max(kind.value for kind in Type)}")
for suffix in ("jpg", "png", "webp"):
    for name, more in (("without EXIF", {}), ("with EXIF", {"exif": exif})):
        path = f"{sys.argv[1]}/picture.{suffix}"
        picture.save(path, **more)
        with av.open(path) as container:
            frame = next(container.decode(video=0))
        try:
            answer = str([item.type.name for item in frame.side_data])
        except ValueError as error:
            graph = Graph()
            source = graph.add_buffer(width=64, height=48, format=frame.format, time_base=Fraction(1, 25))
            graph.link_nodes(source, graph.add("sidedata", "mode=delete:type=31"), graph.add("buffersink")).configure()
            graph.push(frame)
            (item,) = graph.pull().side_data
            answer = f"ValueError: {error}; without it {item.type.name}, {np.frombuffer(item, np.int32)[[0, 1, 3, 4]].tolist()}"
        print(f"{suffix} {name}: {answer}")
PY
"$work/venv/bin/python" "$work/look.py" "$work" 2>"$work/errors" | tee "$work/seen"

diff - "$work/seen" <<'SEEN'
PyAV 18.1.0 on FFmpeg 8.1.2, side data known up to 27
jpg without EXIF: []
jpg with EXIF: ValueError: 31 is not a valid Type; without it DISPLAYMATRIX, [-65536, 0, 0, 65536]
png without EXIF: []
png with EXIF: ValueError: 31 is not a valid Type; without it DISPLAYMATRIX, [-65536, 0, 0, 65536]
webp without EXIF: []
webp with EXIF: ValueError: 31 is not a valid Type; without it DISPLAYMATRIX, [-65536, 0, 0, 65536]
SEEN
echo "as it was"
