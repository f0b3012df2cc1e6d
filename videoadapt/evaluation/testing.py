"""Multi-view testing: every view of every video once, then results.json, predictions.npz and the pictures."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from videoadapt import distributed, logger
from videoadapt.data.shared_classes import OtherList
from videoadapt.data.structures import Unreadable, VideoViews
from videoadapt.data.videos import VideoRows
from videoadapt.errors import counted
from videoadapt.evaluation.judged import load_judged, may_have_trained_on_val
from videoadapt.evaluation.multi_label import MultiPredictions
from videoadapt.evaluation.of_labels import OF_LABELS
from videoadapt.evaluation.predictions import ListPredictions, Predictions
from videoadapt.evaluation.tested import predictions_file
from videoadapt.evaluation.views import ViewAccumulator, evaluate
from videoadapt.evaluation.worth import fitted_temperature, of_list, worth
from videoadapt.files import as_record, write_atomically, write_json
from videoadapt.log import progress
from videoadapt.models.parameters import parameter_table
from videoadapt.paths import is_file
from videoadapt.runs.build_data import build_test_loader
from videoadapt.runs.folder import save_description
from videoadapt.runs.rates import BY_KEY, OtherRates, Rates, trained_rates
from videoadapt.runs.run import Run
from videoadapt.runs.test_lists import own_list


def test(run: Run) -> dict[str, Any]:
    """Test the run's best (else newest) checkpoint on `data.test`, and write the results into its folder.

    Returns the content of results.json; accuracies are in percent. Without a checkpoint the fine-tuned head in `model.weights`
    is tested. Raises ConfigError when there is neither, NotFinite when a logit is not finite.
    """
    config, splits = run.config, run.splits
    judged = load_judged(run)
    if config.test.calibrate and may_have_trained_on_val(config, splits, judged.trained_on) and distributed.is_main():
        logger.warning(
            "test.calibrate: the run may have been trained on videos of data.val, of which it is too sure for a temperature; "
            "give a list, or the holdout that it was trained with"
        )
    save_description(run.config, run.splits.class_names)
    start = time.perf_counter()
    run.model.eval()
    with run.testing_forward() as forward:
        predictions = _predict(run, forward, "test", splits.test, judged.thresholds)
        others = {
            name: _predict(run, forward, f"test {name}", of.videos, judged.thresholds)
            for name, of in splits.others.items()
        }
        fitted = fitted_temperature(_predict(run, forward, "calibrate", splits.val)) if config.test.calibrate else {}
    temperature = fitted.get("temperature")
    own = own_list(config.data)
    results = {
        **predictions.results(),
        **judged.as_dict(run),
        "trained_parameters": sum(row.num_parameters for row in parameter_table(run.model) if row.trainable),
        "test_list_sha256": splits.fingerprint(splits.test),
        "test_files_sha256": splits.files_fingerprint(splits.test),
        "frame_rates": _frame_rates(run, predictions),
        **worth(predictions, temperature),
        **of_list(predictions, OtherList(splits.test, None if own is None else own.group)),
    }
    results["num_val_in_test"] = _num_val_in_test(run, results)
    if fitted:
        results["calibration"] = {**fitted, "val_list_sha256": splits.fingerprint(splits.val)}
    if isinstance(config.data.test, dict):
        results["list"] = next(iter(config.data.test))
    if others:
        results["lists"] = {name: _of_other(run, name, found, temperature) for name, found in others.items()}
    if distributed.is_main():
        write_results(run, predictions, results, others)
        took = time.perf_counter() - start
        views = predictions.logits_NVK.shape[1]
        logger.info(
            "tested %s on %s x %s in %.1f s",
            judged.source,
            counted(len(splits.test), "video"),
            counted(views, "view"),
            took,
        )
    return results


def _num_val_in_test(run: Run, results: Mapping[str, Any]) -> int | None:
    """How many validation videos are in the test list; a test alone keeps what one after the training counted of the same."""
    path, counted_now = run.folder / "results.json", run.splits.num_val_in_test
    if counted_now is not None or not is_file(path):
        return counted_now
    same = ("checkpoint_step", "test_list_sha256", "test_files_sha256")
    before = as_record(path.read_bytes(), "num_val_in_test", *same)
    return before["num_val_in_test"] if before and all(before[key] == results[key] for key in same) else None


def _predict(
    run: Run, forward: Callable[[Tensor], Tensor], what: str, videos: VideoRows, thresholds: list[float] | None = None
) -> ListPredictions:
    """Every view of the test of every video of a list, averaged as the test averages; `thresholds` of several labels.

    `what` stands before the progress.
    """
    test, data = run.config.test, run.config.data
    accumulator = ViewAccumulator(videos, test.clips, test.crops, len(run.splits.class_names))
    loader = build_test_loader(videos, data, test.clips, test.crops, run.device)
    evaluate(forward, _with_progress(what, loader, len(loader)), accumulator, test.batch_size)
    predictions = accumulator.predictions(test.average, data.labels)
    if isinstance(predictions, MultiPredictions) and thresholds is not None:
        predictions.thresholds_K = np.array(thresholds)
    return predictions


def _of_other(run: Run, name: str, predictions: ListPredictions, temperature: float | None) -> dict[str, Any]:
    """What results.json says of a list that is tested besides the run's own."""
    splits, asked = run.splits, run.splits.others[name]
    found = {
        **predictions.results(),
        **worth(predictions, temperature),
        **of_list(predictions, asked),
        "test_list_sha256": splits.fingerprint(asked.videos),
        "test_files_sha256": splits.files_fingerprint(asked.videos),
    }
    score = found[OF_LABELS[run.config.data.labels].best_by]
    logger.info("%s: %s %% of %s", name, score, counted(found["num_videos"], "video"))
    return found


def _frame_rates(run: Run, predictions: ListPredictions) -> dict[str, Any]:
    """The rates of the training's and of the tested videos, and how many of these are far from those, which is said."""
    trained, tested = trained_rates(run.folder), Rates()
    other = OtherRates(run.config.data, trained)
    for notes in predictions.notes.values():
        other.note(notes.fps_hz)
        tested.note([] if notes.fps_hz is None else [notes.fps_hz])
    if distributed.is_main():
        other.say(BY_KEY)
    return {"trained": trained.as_dict(), "tested": tested.as_dict(), "num_other": other.num_far}


def write_results(
    run: Run, predictions: ListPredictions, results: dict[str, Any], others: Mapping[str, ListPredictions]
) -> None:
    """Write results.json, predictions.npz, those of `others` by their names, per_class.csv, and a picture of the classes."""
    folder = run.folder
    for item in results["unreadable"]:
        logger.warning(
            "cannot be read, counts as wrong: %s of data.test, line %d: %s", item["video"], item["line"], item["reason"]
        )
    if results["num_damaged_videos"]:
        first = results["damaged"][0]
        logger.warning(
            "%s damage that the decoder conceals, %d of the frames that were read; first %s, line %d; "
            "results.json lists them",
            counted(results["num_damaged_videos"], "video of data.test has", "videos of data.test have"),
            results["num_damaged_frames"], first["video"], first["line"],
        )  # fmt: skip
    _write_predictions(folder / "predictions.npz", predictions, run)
    for name, of in others.items():
        _write_predictions(predictions_file(folder, name), of, run)
    write_json(folder / "results.json", results)  # behind them: where it is, a sweep tests no more
    if isinstance(predictions, Predictions):
        _write_confusion(predictions, run)
    elif isinstance(predictions, MultiPredictions):
        _write_class_scores(predictions, run)


def _write_predictions(target: Path, predictions: ListPredictions, run: Run) -> None:
    def save(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(
                file,
                video_id=np.array([video.id for video in predictions.videos]),
                label=predictions.labels,
                scores=predictions.scores_NK,
                view_logits=predictions.logits_NVK,
                class_names=np.array(run.splits.class_names),
            )

    write_atomically(target, save)


def _write_confusion(predictions: Predictions, run: Run) -> None:
    from videoadapt.runs.confusion import plot_confusion, write_per_class  # matplotlib is slow to import

    names, labels_N, predicted_N = run.splits.class_names, predictions.labels, predictions.predicted_N()
    plot_confusion(labels_N, predicted_N, names, run.folder / "confusion.png")
    write_per_class(labels_N, predicted_N, predictions.ranks_N, names, run.folder / "per_class.csv")


def _write_class_scores(predictions: MultiPredictions, run: Run) -> None:
    from videoadapt.runs.class_scores import ClassScore, plot_class_scores, write_class_scores

    numbers = [of_K.tolist() for of_K in (*predictions.counts(), predictions.thresholds_K)]
    columns = zip(run.splits.class_names, *numbers, predictions.average_precisions(), strict=True)
    scores = [ClassScore(*column) for column in columns]
    write_class_scores(scores, run.folder / "per_class.csv")
    plot_class_scores(scores, len(predictions.videos), run.folder / "average_precision.png")


def _with_progress(
    what: str, loader: Iterable[VideoViews | Unreadable], total: int
) -> Iterator[VideoViews | Unreadable]:
    with progress(what, total, "videos") as line:
        for item in loader:
            yield item
            line.advance()
