"""The HMDB51 command on real clips of HMDB51, UCF101 and Kinetics: the same front door, other lists."""

from pathlib import Path

import pytest

from tests.toy_runs import records, results, run

CLIPS = """\
RATRACE_wave_f_nm_np1_fr_goo_37.avi 0
SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi 0
TrumanShow_wave_f_nm_np1_fr_med_26.avi 0
hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi 1
v_SoccerJuggling_g23_c01.avi 2
v_SoccerJuggling_g24_c01.avi 2
R6llTwEh07w.mp4 3
SOX5yA1l24A.mp4 3
WUzgd7C1pWA.mp4 3
arm_wrestling.mp4 4
flipping_a_pancake.mkv 5
"""
CLASSES = "wave\ncartwheel\nSoccerJuggling\nusing segway\narm wrestling\nflipping pancake\n"


@pytest.mark.slow
def test_train_and_test_on_eleven_real_clips(clips_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text(CLIPS)
    (tmp_path / "classes.txt").write_text(CLASSES)
    # Two blocks of the smallest published backbone, with random weights: this is about files and frames, not about accuracy.
    model = ["model.weights", "null", "model.backbone.size", "small", "model.backbone.depth", "2"]
    lists = ["data.train", str(tmp_path / "real.csv"), f"data.test={tmp_path / 'real.csv'}"]
    classes = [f"data.classes={tmp_path / 'classes.txt'}", "data.root", str(clips_dir), "data.workers", "2"]
    short = ["train.epochs=1", "train.batch_size=5", "train.accumulate=1", "train.precision=fp32"]
    short += ["optim.warmup_epochs=0", "test.clips=2", "test.crops=1"]
    output = tmp_path / "out"
    shown = run(Path("configs/hmdb51_adapt.yaml"), "output", str(output), *model, *lists, *classes, *short)
    assert "data.train and data.test share 11 videos" in shown
    assert len(records(output)) == 2
    result = results(output)
    assert (result["num_videos"], result["num_unreadable"], result["num_views"]) == (11, 0, 2)
