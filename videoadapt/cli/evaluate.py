"""Compare detected segments with annotations of ActivityNet's or THUMOS14's layout: mean average precision by tIoU."""

import argparse
from pathlib import Path

from videoadapt.cli._command import command, program
from videoadapt.cli._output import check_file, check_not_read
from videoadapt.cli._paths import place
from videoadapt.errors import counted


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog=program("evaluate"), description=__doc__)
    parser.add_argument(
        "detections", type=place, help="results in ActivityNet's layout, such as videoadapt segment writes"
    )
    parser.add_argument(
        "--truth", type=place, required=True, metavar="FILE", help="annotations: activity_net.v1-3.min.json"
    )
    parser.add_argument(
        "--subset", default="validation", help="of the annotations; default: validation (THUMOS14: test)"
    )
    parser.add_argument("--out", type=place, metavar="FILE", help="json for the numbers, with those of each class")
    return parser.parse_args(arguments)


@command(stopped="stopped")
def main(arguments: list[str] | None = None) -> int:
    """Print mAP at tIoU 0.3 to 0.7, and at ActivityNet's 0.5 to 0.95, and return the exit code."""
    args = parse_arguments(arguments)
    import numpy as np

    from videoadapt.evaluation.localisation import (
        ACTIVITYNET_TIOU,
        THUMOS14_TIOU,
        average_precisions,
        read_annotations,
        read_detections,
    )
    from videoadapt.files import write_json
    from videoadapt.log import setup_logging

    setup_logging()
    if args.out:
        check_file("--out", args.out)
        check_not_read("--out", args.out, [args.truth, args.detections])
    truth = read_annotations(Path(args.truth), args.subset)
    found = read_detections(Path(args.detections), truth)
    result = {}
    for name, tiou_M in (("THUMOS14", THUMOS14_TIOU), ("ActivityNet", ACTIVITYNET_TIOU)):
        by_class = average_precisions(truth.segments, found, tiou_M)
        map_M = 100 * np.stack([*by_class.values()]).mean(axis=0)
        result[name] = {
            "tiou": [round(float(tiou), 2) for tiou in tiou_M],
            "mAP": map_M.round(4).tolist(),
            "average_mAP": round(float(map_M.mean()), 4),
            "classes": {label: (100 * ap_M).round(4).tolist() for label, ap_M in by_class.items()},
        }
        at = "  ".join(f"{tiou:.2f}: {value:.2f}" for tiou, value in zip(tiou_M, map_M, strict=True))
        print(f"{name}'s mAP (%) by tIoU  {at}  mean: {map_M.mean():.2f}")
    segments, classes = counted(len(truth.segments), "annotated segment"), counted(len(by_class), "class")
    print(f"{counted(len(found), 'detection')}, {segments}, {classes} ({args.subset})")
    if args.out:
        write_json(args.out, result)
    return 0
