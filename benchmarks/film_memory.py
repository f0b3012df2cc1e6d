"""The peak memory of one process that looks at a film through windows, with the quickstart's model."""

import re
import sys
import time
from pathlib import Path

from videoadapt.inference.predictor import Predictor


def main(film: str) -> None:
    """Print windows, seconds and megabytes."""
    predictor = Predictor.from_adapter("package:quickstart_adapter.safetensors", device="cpu")
    began = time.perf_counter()
    windows = predictor.timeline(film, crops=1).windows
    took_sec = time.perf_counter() - began
    (peak_kb,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(f"{film}: {len(windows)} windows in {took_sec:.0f} s, at most {int(peak_kb) / 1024:.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1])
