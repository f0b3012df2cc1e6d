#!/usr/bin/env bash
# decord2 fails at clips of an HEVC film that reach over a key frame, where groups of pictures are closed and have B-frames; decord reads them all.
#
# decord2 is a fork that is maintained, and installs under the same name, `import decord`. "Error sending packet (-11 vs. 0)" of a sound film means that it
# sent a packet while FFmpeg's decoder still had pictures to hand over. It is not said of films with one key frame, nor at each key frame, so that a first
# try works. `open-gop=0` of x265, and other encoders of HEVC, make such groups. Of 14 clips of 8 frames 5 failed at a key frame every 12
# frames, and 3 or 4 at one every 30. Loaders that catch the error and take another clip, as VideoMAE's does, train on clips between key frames
# alone. H.264 of the same groups is read, and so is HEVC with open groups or without B-frames.
#
# Makes its own input; needs Python 3.10 to 3.12, pip and Linux on x86. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
pip() { "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check "$@" 2>"$work/pip" || { cat "$work/pip"; exit 1; }; }

cat >"$work/look.py" <<'PY'
import sys

import av
import decord
import numpy as np

FRAMES, LENGTH = 120, 8


def write(path, codec, options):
    """A pattern that moves by 4 pixels a frame."""
    pattern = np.random.default_rng(0).integers(0, 255, (15, 20, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(FRAMES):
            picture = np.ascontiguousarray(np.roll(pattern, 4 * number, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def fails(path, first, last):
    try:
        return decord.VideoReader(path).get_batch(range(first, last)).shape[0] != last - first
    except decord.DECORDError as error:
        assert "Error sending packet" in str(error), error
        return True


def look(name, codec, every, **options):
    path = f"{sys.argv[1]}/film.mp4"
    common = f"keyint={every}:min-keyint={every}:scenecut=0"
    extra = "".join(f":{key.replace('_', '-')}={value}" for key, value in options.items())
    key = "x265-params" if codec == "libx265" else "x264-params"
    write(path, codec, {key: common + extra + (":log-level=error" if codec == "libx265" else "")})
    some = [fails(path, first, first + LENGTH) for first in range(0, FRAMES, LENGTH)]
    print(f"{name}, a key frame every {every}: the whole film {'fails' if fails(path, 0, FRAMES) else 'is read'}, {'some' if any(some) else 'none'} of the clips fail")


print(f"decord {decord.__version__}, PyAV {av.__version__}, {FRAMES} frames, clips of {LENGTH}")
decord.logging.set_level(decord.logging.QUIET)
look("H.264, closed groups", "libx264", 12, open_gop=0)
look("HEVC, open groups", "libx265", 12)
look("HEVC, closed groups without B-frames", "libx265", 12, open_gop=0, bframes=0)
for every in (12, 30, 250):
    look("HEVC, closed groups", "libx265", every, open_gop=0)
PY
pip install av==18.1.0 numpy==2.2.6 setuptools==75.8.0
for package in decord==0.6.0 decord2==3.4.0; do
    pip install "$package"
    "$work/venv/bin/python" "$work/look.py" "$work" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
    pip uninstall -y "${package%==*}"
done | tee "$work/seen"
diff - "$work/seen" <<'SEEN'
decord 0.6.0, PyAV 18.1.0, 120 frames, clips of 8
H.264, closed groups, a key frame every 12: the whole film is read, none of the clips fail
HEVC, open groups, a key frame every 12: the whole film is read, none of the clips fail
HEVC, closed groups without B-frames, a key frame every 12: the whole film is read, none of the clips fail
HEVC, closed groups, a key frame every 12: the whole film is read, none of the clips fail
HEVC, closed groups, a key frame every 30: the whole film is read, none of the clips fail
HEVC, closed groups, a key frame every 250: the whole film is read, none of the clips fail
decord 3.4.0, PyAV 18.1.0, 120 frames, clips of 8
H.264, closed groups, a key frame every 12: the whole film is read, none of the clips fail
HEVC, open groups, a key frame every 12: the whole film is read, none of the clips fail
HEVC, closed groups without B-frames, a key frame every 12: the whole film is read, none of the clips fail
HEVC, closed groups, a key frame every 12: the whole film fails, some of the clips fail
HEVC, closed groups, a key frame every 30: the whole film fails, some of the clips fail
HEVC, closed groups, a key frame every 250: the whole film is read, none of the clips fail
SEEN
echo "as it was"
