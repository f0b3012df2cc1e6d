"""What x264 is told so that it makes the same film of the same frames at each call."""

import platform

# On processors with AVX-512 x264 reads memory that nobody wrote, and the film differs from call to call; with AVX2 it is the
# same each time, but another one than with SSE2, which every such processor has, and with which it is that of x264's C code.
_INSTRUCTIONS = ["asm=sse2"] if platform.machine().lower() in ("x86_64", "amd64") else []


def x264_params(*params: str) -> str:
    """The value of FFmpeg's option `x264-params`: these, and the instructions that x264 may use."""
    return ":".join([*params, *_INSTRUCTIONS])
