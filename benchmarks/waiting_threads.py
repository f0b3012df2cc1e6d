"""How long OpenMP's threads go round while they wait for one another: a training step of the quickstart's model on the CPU,
alone and beside busy processes, in processes that differ in one variable of their environment.

They step in turn, so that a noisy moment hits all of them. Where that is allowed (root), all of them together come before
whatever else runs on the machine, as a session of the highest priority.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

VARIABLES = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
STEPS = 2  # that a process makes each time it is its turn
WAYS: Mapping[str, Mapping[str, str]] = {
    "as videoadapt sets it": {},
    "300,000 rounds, as libgomp does": {"GOMP_SPINCOUNT": "300000"},
    "none, OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
}


def measure(busy: int, rounds: int) -> dict[str, Any]:
    """Median milliseconds of a step for each way of waiting, alone and beside `busy` processes that never rest."""
    _come_first()
    with ExitStack() as stack:
        steppers = {way: stack.enter_context(_stepper(variables)) for way, variables in WAYS.items()}
        _in_turn(steppers, 0)
        alone = _in_turn(steppers, rounds)
        for _ in range(busy):
            stack.enter_context(_ended(subprocess.Popen([sys.executable, "-c", "while True: pass"])))
        beside = _in_turn(steppers, rounds)
    return {
        "load": os.getloadavg()[0],
        "busy": busy,
        "ways": {
            way: {
                "alone_ms": alone[way],
                "beside_ms": beside[way],
                "share_of_its_speed_alone": alone[way] / beside[way],
            }
            for way in WAYS
        },
    }


def _come_first() -> None:
    """Linux shares the processor out among sessions first, then inside each."""
    with suppress(OSError):  # a process that leads its group stays in its session
        os.setsid()
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("-20")


def _in_turn(steppers: Mapping[str, "subprocess.Popen[str]"], rounds: int) -> dict[str, float]:
    found: dict[str, list[float]] = {way: [] for way in steppers}
    for _ in range(rounds + 1):
        for way, process in steppers.items():
            assert process.stdin and process.stdout
            process.stdin.write("go\n")
            process.stdin.flush()
            found[way].append(float(process.stdout.readline()))
    return {way: statistics.median(times[1:] or times) for way, times in found.items()}


@contextmanager
def _stepper(variables: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, "-m", "benchmarks.waiting_threads"]
    with _ended(
        subprocess.Popen(
            command, env={**environment, **variables}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    ) as process:
        yield process


@contextmanager
def _ended(process: "subprocess.Popen[Any]") -> Iterator["subprocess.Popen[Any]"]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def serve(lines: Iterator[str]) -> None:
    """Answer each line with the mean milliseconds of a step of the quickstart's model."""
    import torch

    from videoadapt.config.loading import load_config
    from videoadapt.data.structures import ClipBatch
    from videoadapt.runs.build import build_seeded_model
    from videoadapt.training.classification import Classification
    from videoadapt.training.mixup import Mixup
    from videoadapt.training.updater import Updater
    from videoadapt.video.sides import sides_of

    config = load_config("quickstart", [])
    model = build_seeded_model(config, 8)
    objective = Classification(
        Mixup(mixup_alpha=0, cutmix_alpha=0, label_smoothing=0, num_classes=8),
        precision=config.train.precision,
        device=torch.device("cpu"),
    )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    updater = Updater(model, objective, torch.optim.AdamW(trained), lambda step: 1e-3)
    size, sides = config.train.batch_size, sides_of(config.data.crop_px)
    clips_BCTHW = torch.randint(256, (size, 3, config.data.num_frames, *sides), dtype=torch.uint8)
    batch = ClipBatch(clips_BCTHW, torch.arange(size) % 8, ("",) * size, (None,) * size)
    for _ in lines:
        start = time.perf_counter()
        for _ in range(STEPS):
            updater.update([batch])
        print(1e3 * (time.perf_counter() - start) / STEPS, flush=True)


def markdown(result: Mapping[str, Any]) -> str:
    """The figures as a table."""
    rows: Sequence[str] = [
        f"| {way} | {found['alone_ms']:.0f} | {found['beside_ms']:.0f} | {100 * found['share_of_its_speed_alone']:.0f} % |"
        for way, found in result["ways"].items()
    ]
    head = f"| threads wait | alone (ms) | beside {result['busy']} busy processes (ms) | share of its speed alone |"
    return "\n".join([head, "| --- | ---: | ---: | ---: |", *rows]) + "\n"


if __name__ == "__main__":
    serve(iter(sys.stdin.readline, ""))
