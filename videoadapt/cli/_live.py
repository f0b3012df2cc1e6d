"""How a running stream is shown: bars that move on a terminal, else a line a look, or JSON records."""

import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from videoadapt.cli._answers import as_record, bars
from videoadapt.cli._command import EXIT_UNREADABLE
from videoadapt.errors import counted

if TYPE_CHECKING:
    from videoadapt.inference.live import Look
    from videoadapt.inference.many import Asking


def show_live(asking: "Asking", source: str, top: int, window_sec: float | None, records: bool) -> int:
    """Show what is seen until the stream ends, and say how many frames no look has seen; return the exit code.

    3 where it broke off after a look; what keeps it from the first one is raised.
    """
    from rich.live import Live
    from rich.text import Text

    from videoadapt.errors import DecodeError
    from videoadapt.inference.live import watch
    from videoadapt.log import console
    from videoadapt.terminal import stop_if_pressed, visible
    from videoadapt.video.live import without_password

    name, look, num_looks = without_password(source), None, 0
    try:
        with ExitStack() as opened:
            moving = console.is_terminal and sys.stdout.isatty() and not records
            screen = opened.enter_context(Live(console=console, auto_refresh=False)) if moving else None
            for look in watch(asking, source, top, window_sec):
                stop_if_pressed()
                num_looks += 1
                if screen is not None:
                    text = "\n".join([f"{name}  {_when(look)}", *bars(look.predictions)])
                    screen.update(Text(visible(text)), refresh=True)
                elif records:
                    print(json.dumps(_record(name, look), ensure_ascii=False), flush=True)
                else:
                    best = "  ".join(f"{p.name} {100 * p.probability:.0f} %" for p in look.predictions)
                    print(f"{look.end_sec:8.2f} s  {best}", flush=True)
    except DecodeError as error:
        if look is None:
            raise
        sys.stderr.write(f"error: {error}\n")
        return EXIT_UNREADABLE
    finally:
        if look is not None:
            sys.stderr.write(f"{name}: {counted(num_looks, 'look')}; {_when(look)}\n")
    return 0


def _when(look: "Look") -> str:
    missed = f", {look.num_missed} of them in no look: the model is slower than the stream" if look.num_missed else ""
    return f"{look.end_sec:.1f} s, {counted(look.num_frames, 'frame')}{missed}"


def _record(name: str, look: "Look") -> dict[str, object]:
    return {
        "source": name,
        "start_sec": round(look.start_sec, 6),
        "end_sec": round(look.end_sec, 6),
        "predictions": [as_record(p) for p in look.predictions],
        "num_frames": look.num_frames,
        "num_missed": look.num_missed,
    }
