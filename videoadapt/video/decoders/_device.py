"""FFmpeg's decoders on an NVIDIA GPU (NVDEC), kept from file to file: setting one up may cost more than a clip.

FFmpeg reads the stream and asks NVDEC for its pictures, so that order, time stamps and cropping are those of its own decoder.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import av
import torch
from av.codec.context import CodecContext
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from videoadapt import distributed
from videoadapt.errors import ConfigError
from videoadapt.video.decoders._opening import WITHOUT_GRAIN

INSTEAD = "choose another data.decoder: decord, pyav"
MOST_KEPT = 16  # decoders that wait for a stream like the one that they were made for; each takes memory on the GPU


class DeviceDecoder(NamedTuple):
    """A decoder, and what it is set up with: parameters of a stream, and what its container says of its colours."""

    context: VideoCodecContext
    made_for: Hashable


_waiting: OrderedDict[Hashable, VideoCodecContext] = OrderedDict()


def take(stream: VideoStream) -> DeviceDecoder:
    """A decoder for this stream, new or kept; `keep` it after use. Raises ConfigError where no GPU is visible."""
    own = stream.codec_context
    made_for = own.name, own.extradata, own.colorspace, own.color_range
    context = _waiting.pop(made_for, None) or _new(own)
    context.reorder_depth = own.reorder_depth  # without it FFmpeg learns it from frames that it drops
    return DeviceDecoder(context, made_for)


def keep(decoder: DeviceDecoder) -> None:
    """Let a decoder wait for the next stream of its kind; not one at which a stream failed."""
    decoder.context.flush_buffers()
    _waiting[decoder.made_for] = decoder.context
    if len(_waiting) > MOST_KEPT:
        _waiting.popitem(last=False)


def _new(own: VideoCodecContext) -> VideoCodecContext:
    try:
        with on_gpu() as accelerator:
            context = CodecContext.create(own.name, "r", hwaccel=accelerator)
    except av.FFmpegError as error:
        raise ConfigError(f"FFmpeg cannot use the GPU ({error.strerror}); {INSTEAD}") from error
    assert isinstance(context, VideoCodecContext)
    context.extradata, context.thread_count, context.options = own.extradata, 1, WITHOUT_GRAIN
    context.colorspace, context.color_range = own.colorspace, own.color_range
    return context


@contextmanager
def on_gpu() -> Iterator[HWAccel | None]:
    """This process's GPU with torch's context there: one more would take memory and time, and not share what is decoded.

    Raises ConfigError where no GPU is visible.
    """
    device = distributed.device()
    if device.type != "cuda":
        raise ConfigError(f"no NVIDIA GPU is visible here; {INSTEAD}")
    with torch.cuda.device(device):
        torch.empty(1, device=device)  # which makes the context, or makes it current
        # What NVDEC does not take (pictures below its least size, say) is left to the CPU.
        yield HWAccel("cuda", str(device.index), allow_software_fallback=True, options={"current_ctx": "1"})
