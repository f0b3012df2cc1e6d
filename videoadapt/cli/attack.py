"""Attack a run: what is left of its accuracy when every test clip is changed, within a budget, so that its loss is large."""

import argparse
from pathlib import Path
from typing import Any

from videoadapt.cli._answers import say_unreadable
from videoadapt.cli._command import EXIT_UNREADABLE, command, program
from videoadapt.cli._options import add_device, add_run
from videoadapt.cli._output import check_file
from videoadapt.cli._paths import place
from videoadapt.errors import counted


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=program("attack"),
        allow_abbrev=False,
        description=__doc__,
        epilog="Each view of a video is attacked by itself, with the video's label, and the views are then averaged as the "
        "run's test does. docs/attacks.md says what the numbers mean.",
    )
    add_run(parser, "run folder, with the test list of its config")
    parser.add_argument("--method", choices=("pgd", "fgsm"), default="pgd", help="several steps, or one")
    parser.add_argument("--norm", choices=("linf", "l2"), default="linf", help="how the size of a change is measured")
    parser.add_argument(
        "--budget",
        type=float,
        default=4.0,
        metavar="LEVELS",
        help="grey levels of 255 (4): linf: the most for any value; l2: the root of the mean square over those attacked",
    )
    parser.add_argument("--steps", type=int, default=10, help="of pgd (10)")
    parser.add_argument(
        "--frames", type=_frames, default=None, metavar="N", help="change so many frames of a clip (all)"
    )
    parser.add_argument("--root", type=place, metavar="FOLDER", help="where its videos are now; default: data.root")
    parser.add_argument("--videos", type=int, metavar="N", help="so many videos, evenly spread over the list (all)")
    parser.add_argument("--seed", type=int, default=0, help="of random starts and of the control (0)")
    parser.add_argument("--out", type=place, metavar="FILE", help="json for the numbers (RUN/attack.json)")
    add_device(parser)
    return parser.parse_args(arguments)


def _frames(text: str) -> int | None:
    try:
        return None if text == "all" else int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: allowed: all, or a whole number") from error


@command(stopped="stopped; nothing was written")
def main(arguments: list[str] | None = None) -> int:
    """Attack, print the accuracies and return the exit code."""
    args = parse_arguments(arguments)
    from videoadapt.distributed import choose_device
    from videoadapt.evaluation.adversarial import attack_run
    from videoadapt.evaluation.attacks import Attack
    from videoadapt.files import write_json
    from videoadapt.log import setup_logging

    setup_logging()
    attack = Attack(norm=args.norm, budget=args.budget, method=args.method, steps=args.steps, frames=args.frames)
    out = args.out or Path(args.run) / "attack.json"
    check_file("--out", out)
    device = choose_device(args.device)
    found = attack_run(Path(args.run), attack, device, root=args.root, num_videos=args.videos, seed=args.seed)
    write_json(out, found)
    print("\n".join(_lines(found)))
    print(f"files: {out}")
    say_unreadable(found["unreadable"], found["videos"])
    return EXIT_UNREADABLE if found["unreadable"] else 0


def _lines(found: dict[str, Any]) -> list[str]:
    attack, kinds = found["attack"], {"clean": "clean", "random": "as far at random", "attacked": "attacked"}
    steps = counted(attack["steps"] if attack["method"] == "pgd" else 1, "step")
    lines = [
        f"{attack['method']}, {attack['norm']}, {attack['budget']:g} of 255 grey levels, {steps}, frames: {attack['frames']}; "
        f"{counted(found['videos'], 'video')} x {counted(found['views'], 'view')}"
    ]
    for kind, name in kinds.items():
        score = found[kind]
        low_high = "  (95 %: {:.1f} to {:.1f})".format(*score["interval"]) if score["interval"] else ""
        lines.append(f"  {name:17} top-1 {score['top1']:5.1f} %{low_high}  loss {score['loss'] or 0:.3f}")
    if found["turned"] is not None:
        lines.append(f"  of the videos that were right, {found['turned']:.1f} % are wrong under the attack")
    return lines
