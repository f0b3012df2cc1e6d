"""What the JSON files in a run's folder hold, for those who read them back: only keys on which something relies are named."""

from typing import Annotated, Any, Literal, Self

from annotated_types import Gt, Interval, Len
from pydantic import Field, FiniteFloat, model_validator

from videoadapt.runs.records import Shape

Count = Annotated[int, Interval(ge=0, lt=2**63)]
Moment = Annotated[float, Interval(ge=0, lt=1e11)]  # seconds since 1970, which a calendar has
Bounds = Annotated[list[FiniteFloat], Len(2, 2)]  # of a 95 % interval


class Measured(Shape):
    """A line of metrics.jsonl; a loss may be infinite."""

    kind: str
    step: Count
    loss: float = 0.0
    top1: FiniteFloat = 0.0
    mAP: FiniteFloat = 0.0
    lr: FiniteFloat | None = None
    epoch: FiniteFloat | None = None

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if self.kind == "train" and None in (self.lr, self.epoch):
            raise ValueError("the record of an update needs lr and epoch, which are numbers")
        if self.kind == "train" and not {"loss", "skipped"} & {*self.model_fields_set, *(self.model_extra or {})}:
            raise ValueError("the record of an update that is not skipped needs loss")
        return self


class Timed(Shape):
    """A line of timing.jsonl, for those who ask how long updates took."""

    step_sec: FiniteFloat


class TimedInParts(Timed):
    """The same for those who ask what they waited for."""

    data_sec: FiniteFloat
    clips_per_sec: FiniteFloat


class Machine(Shape):
    """What a phase ran on."""

    host: str
    system: str
    processors: int | None
    versions: dict[str, str]


class Phase(Shape):
    """A line of phases.jsonl."""

    phase: str
    began: Moment
    sec: Annotated[float, Gt(0), Interval(lt=1e11)]
    steps: Annotated[list[Count], Len(2, 2)]
    joules: FiniteFloat | None
    no_joules: str
    devices: list[str]
    machine: Machine
    parameters: list[Annotated[tuple[str, Count, bool], Field(strict=False)]]  # json has no tuples
    gflops_per_view: FiniteFloat | None


class Measures(Shape):
    """Scores in percent; None where no video has a label."""

    top1: FiniteFloat | None = None
    top5: FiniteFloat | None = None
    mean_class: FiniteFloat | None = None
    mAP: FiniteFloat | None = None
    micro_f1: FiniteFloat | None = None
    macro_f1: FiniteFloat | None = None


class Unread(Shape):
    """A video that counts as wrong."""

    video: str
    line: Count
    reason: str


class Damaged(Shape):
    """A video with frames that the decoder concealed."""

    video: str
    line: Count
    frames: Count


class Worth(Shape):
    """What probabilities are worth."""

    ece: FiniteFloat
    nll: FiniteFloat
    brier: FiniteFloat
    accuracy_at_80: FiniteFloat
    aurc: FiniteFloat


class Confidence(Shape):
    """The same as they are and after a temperature."""

    before: Worth | None
    after: Worth | None


class Calibration(Confidence):
    """The temperature of the validation list."""

    temperature: FiniteFloat | None
    num_videos: Count

    @model_validator(mode="after")
    def _has_what_it_changed(self) -> Self:
        if self.temperature is not None and None in (self.before, self.after):
            raise ValueError("with a temperature, before and after are needed")
        return self


class Group(Measures):
    """The videos of one group."""

    num_videos: Count


class ListTested(Measures):
    """What results.json says of one list."""

    num_videos: Count
    average: Literal["logits", "probs"]
    test_list_sha256: str
    confidence: Confidence | None = None
    groups: dict[str, Group] = Field({})
    num_shared_classes: Count = 0
    num_left_out: Count = 0
    top1_among_shared: FiniteFloat = 0.0
    classes_left_out: list[str] = Field([])

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        shared = {"num_shared_classes", "num_left_out", "top1_among_shared", "classes_left_out"}
        if lacking := sorted(shared - self.model_fields_set) if shared & self.model_fields_set else []:
            raise ValueError(f"{lacking[0]} is missing")
        if not {"top1", "mAP"} & self.model_fields_set:
            raise ValueError("top1 or mAP is missing")
        return self


class Stated(Shape):
    """Of a statement what a page shows."""

    backbone: str | None = None
    class_names: list[str] | None = None


class Otherwise(Shape):
    """The value of a key that is another in the test than in the training."""

    trained: Any
    tested: Any


class Results(ListTested):
    """results.json, for those who show it."""

    num_unreadable: Count
    num_views: Count
    trained_parameters: Count
    checkpoint: str
    readable_only: Measures
    unreadable: list[Unread] = Field([])
    damaged: list[Damaged] = Field([])
    statement: Stated = Stated()
    other_than_trained: dict[str, Otherwise] = Field({})
    test_files_sha256: str = ""
    num_val_in_test: Count | None = 0
    thresholds: list[FiniteFloat] = Field([])
    calibration: Calibration | None = None
    called: str = Field("data.test", alias="list")
    lists: dict[str, ListTested] = Field({})


class CellResults(Shape):
    """results.json, for a sweep's table."""

    top1: FiniteFloat
    top5: FiniteFloat
    mean_class: FiniteFloat
    num_videos: Count
    num_unreadable: Count
    trained_parameters: Count
    statement: Stated = Stated()


class Scored(Shape):
    """A score of robustness.json."""

    score: FiniteFloat | None
    interval: Bounds | None


class Averaged(Scored):
    """The mean of several."""

    relative_drop: FiniteFloat | None


class Corrupted(Shape):
    """A kind of corruption."""

    strengths: dict[str, Scored]
    mean: FiniteFloat | None
    relative_drop: FiniteFloat | None


class Robustness(Shape):
    """robustness.json."""

    measure: str
    clean: Scored
    mean: Averaged
    corruptions: dict[str, Corrupted]
    sensitivity: dict[str, Corrupted]
    num_videos: Count
    seed: int
    checkpoint: str
    test_list_sha256: str
