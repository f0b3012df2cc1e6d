#!/usr/bin/env bash
# `pipeline("video-classification")` shows a VideoMAE other frames since transformers 5.11: all of the film in place of its beginning, at any stride.
#
# Up to 5.10 the model saw the first frames of a film: 16 in a row, half a second, or `frame_sampling_rate` apart (a bit more: 16 frames at 4 are spread
# over 0 to 63, a step of 4.2). Since 5.11 files that published models always had (`preprocessor_config.json` with VideoMAEImageProcessor) are read
# as a video processor's, which spreads the frames over the whole film, whatever its length, and `frame_sampling_rate`, still documented
# ("if not provided, every frame will be used"), does nothing. The call, the model and its files are the same; no error and no warning. A model that was trained at a
# stride of 4 is shown 0.5 s of a film before the update and all 80 frames, 2.7 s, after it; of a film of a minute frames that are 3.8 s apart. Give frames of
# your own choice to `VideoMAEVideoProcessor` and the model, or keep the stride by cutting the film to num_frames x stride frames.
#
# Makes its own input; needs Python 3.10 or newer, pip and Linux on x86. Downloads torch. Fails when anything differs from what is below.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
pip() { "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check install "$@" 2>"$work/pip" || { cat "$work/pip"; exit 1; }; }

cat >"$work/look.py" <<'PY'
import json
import sys
from pathlib import Path

import av
import numpy as np
import transformers
from transformers import VideoMAEConfig, VideoMAEForVideoClassification, pipeline

work = Path(sys.argv[1])
model, film = work / "model", work / "film.mp4"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
if not model.exists():
    small = dict(image_size=32, patch_size=16, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    VideoMAEForVideoClassification(VideoMAEConfig(num_frames=16, num_labels=3, **small)).save_pretrained(model)
    # the keys of the file beside MCG-NJU/videomae-base-finetuned-kinetics, at this model's size
    steps = dict(do_resize=True, size={"shortest_edge": 32}, resample=2, do_center_crop=True, crop_size={"height": 32, "width": 32})
    steps |= dict(do_rescale=True, rescale_factor=1 / 255, do_normalize=True, image_mean=MEAN, image_std=STD)
    (model / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "VideoMAEImageProcessor", **steps}))
    with av.open(str(film), "w") as container:  # frame k has the level 8 + 3 k
        stream = container.add_stream("libx264", rate=30, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(80):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 + 3 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())

classify = pipeline("video-classification", model=str(model), device="cpu")
seen = []
classify.model.register_forward_pre_hook(lambda net, args, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True)
print(f"transformers {transformers.__version__}, a film of 80 frames")
for given in ({}, {"frame_sampling_rate": 2}, {"frame_sampling_rate": 4}):
    classify(str(film), **given)
    levels = (seen[-1][0, :, 0].mean((1, 2)) * STD[0] + MEAN[0]) * 255
    print(given or "by default", [round((level - 8) / 3) for level in levels.tolist()])
PY
# torchvision 0.25 still reads films itself (by PyAV), so that no FFmpeg has to be installed; by torchcodec the frames are the same
pip torch==2.10.0 torchvision==0.25.0 av==16.1.0 numpy==2.2.6
for version in 4.57.1 5.9.0 5.11.0 5.23.0; do
    pip "transformers==$version"
    "$work/venv/bin/python" "$work/look.py" "$work" 2>"$work/errors" || { cat "$work/errors"; exit 1; }
done | grep -v "^Device" | tee "$work/seen"
diff - "$work/seen" <<'SEEN'
transformers 4.57.1, a film of 80 frames
by default [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
{'frame_sampling_rate': 2} [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 31]
{'frame_sampling_rate': 4} [0, 4, 8, 12, 16, 21, 25, 29, 33, 37, 42, 46, 50, 54, 58, 63]
transformers 5.9.0, a film of 80 frames
by default [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
{'frame_sampling_rate': 2} [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 31]
{'frame_sampling_rate': 4} [0, 4, 8, 12, 16, 21, 25, 29, 33, 37, 42, 46, 50, 54, 58, 63]
transformers 5.11.0, a film of 80 frames
by default [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75]
{'frame_sampling_rate': 2} [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75]
{'frame_sampling_rate': 4} [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75]
transformers 5.23.0, a film of 80 frames
by default [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75]
{'frame_sampling_rate': 2} [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75]
{'frame_sampling_rate': 4} [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75]
SEEN
echo "as it was"
