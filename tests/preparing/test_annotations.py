"""Whole films with the annotation files of ActivityNet, Charades, EPIC-KITCHENS and Kinetics, in their published forms."""

import json
from pathlib import Path

import pytest

from videoadapt.cli.prepare import main
from videoadapt.data.datasets.video_list import VideoList
from videoadapt.errors import DataListError
from videoadapt.preparing.annotations import activitynet
from videoadapt.preparing.published import Official, prepare

CHARADES = {
    "Charades/Charades_v1_classes.txt": "c000 Holding some clothes\nc001 Putting clothes somewhere\n",
    "Charades/Charades_v1_train.csv": (
        "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"
        '46GP8,HR43,Kitchen,6,7,Yes,"A person cooks, and laughs.",food;stove,"A person, smiling; cooks.",'
        "c001 11.90 21.20;c000 0.00 12.60;c000 24.30 24.30;c000 2.00 3.00;c001 2.00 3.00;c000 0.00 12.60,24.83\n"
        "N11GT,0KZ7,Stairs,6,7,Yes,Nobody.,stairs,Nothing.,,18.33\n"
    ),
    "Charades/Charades_v1_test.csv": (
        "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length,egocentric\n"
        "YSKX3,8IA5,Bedroom,4,7,No,She folds.,blanket,Folding.,c001 0.00 9.5,31.00,No\n"
    ),
}
EPIC = {
    "epic/EPIC_100_train.csv": (
        "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
        "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
        "P01_01_0,P01,P01_01,00:00:01.089,00:00:00.14,00:00:03.37,8,202,open door,open,1,door,0,['door'],[0]\n"
        "P01_01_1,P01,P01_01,00:00:02.629,01:02:04.370,01:02:06.17,262,370,turn on light,turn-on,0,light,2,['light'],[2]\n"
    ),
    "epic/EPIC_100_validation.csv": (
        "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
        "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
        "P01_11_0,P01,P01_11,00:00:00.560,00:00:00.00,00:00:01.89,1,113,take plate,take,0,plate,1,['plate'],[1]\n"
    ),
    "epic/EPIC_100_verb_classes.csv": "id,key,instances,category\n"
    "0,take,\"['take', 'get']\",retrieve\n1,open,\"['open']\",access\n",
    "epic/EPIC_100_noun_classes_v2.csv": "id,key,instances,category\n"
    "0,door,\"['door']\",a\n1,plate,\"['plate']\",b\n2,light,[],c\n",
    "epic/UDA_annotations/EPIC_100_uda_source_train.csv": "narration_id\n",
}
ACTIVITYNET = {
    "database": {
        "sJFgo9H6zNo": {
            "annotations": [
                {"label": "Fun sliding down", "segment": [0, 124.23]},
                {"label": "Beer pong", "segment": [1.5, 9.25]},
            ],
            "duration": 124.23, "resolution": "1280x720", "subset": "training", "url": "https://example.org/a",
        },
        "V1zhqaGFY2A": {
            "annotations": [{"label": "Beer pong", "segment": [5, 4]}, {"label": "Beer pong", "segment": [3, 4.5]}],
            "duration": 8, "resolution": "320x240", "subset": "validation", "url": "https://example.org/b",
        },
        "JDg--pjY5gg": {"annotations": [], "duration": 9.0, "resolution": "1x1", "subset": "testing", "url": ""},
    },
    "taxonomy": [{"nodeId": 269, "nodeName": "Fun sliding down", "parentId": 270, "parentName": "x"}],
    "version": "VERSION 1.3",
}  # fmt: skip


def write(folder: Path, files: dict[str, str], *films: str) -> Path:
    for name, content in (files | dict.fromkeys(films, "a film")).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def made(name: str, source: Path, out: Path, num_classes: int) -> tuple[dict[str, list[tuple[str, int]]], list[str]]:
    """(id, label) of every row of each list, and what is said to be different."""
    root, _, different = prepare(name, source, out, Official(num_classes))
    lists = {path.stem: VideoList().load(str(path), root) for path in sorted((out / "lists").glob("*.csv"))}
    assert all(video.path.is_file() for videos in lists.values() for video in videos)
    return {split: [(video.id, video.label) for video in videos] for split, videos in lists.items()}, different


def classes(out: Path) -> list[str]:
    return (out / "lists" / "classes.txt").read_text().splitlines()


def test_charades(tmp_path: Path) -> None:
    source = write(tmp_path / "in", CHARADES, "Charades_v1_480/46GP8.mp4", "Charades_v1_480/N11GT.mp4")
    lists, different = made("charades", source, tmp_path / "out", 2)
    film = "Charades_v1_480/46GP8.mp4"
    assert lists == {"train": [(f"{film}#t=0,12.6", 0), (f"{film}#t=11.9,21.2", 1)]}
    assert classes(tmp_path / "out") == ["Holding some clothes", "Putting clothes somewhere"]
    assert different == [
        f"train: 1 part is left out, which end before they start, first {film}#t=24.3,24.3",
        f"train: 1 part is left out, which several classes name, first {film}#t=2,3",
        "test: 1 of 1 video is not there, first YSKX3.mp4#t=0,9.5",
    ]
    missing = (tmp_path / "out" / "lists" / "missing.txt").read_text().splitlines()
    assert missing == [f"train {film}#t=2,3", f"train {film}#t=24.3,24.3", "test YSKX3.mp4#t=0,9.5"]


def test_charades_of_whole_films(tmp_path: Path) -> None:
    """Films without an action stay in the training list, and are left out of the test list, as by its evaluation."""
    name = "Charades/Charades_v1_test.csv"
    nothing = "NONE1,8IA5,Bedroom,4,7,No,Nobody.,blanket,Nothing.,,31.00,No\n"
    films = ("46GP8", "N11GT", "YSKX3", "NONE1")
    source = write(tmp_path / "in", CHARADES | {name: CHARADES[name] + nothing}, *(f"v/{film}.mp4" for film in films))
    assert prepare("charades-films", source, tmp_path / "out", Official(2))[2] == []
    dataset = VideoList()
    dataset.labels = "multi"
    lists = {split: dataset.load(str(tmp_path / f"out/lists/{split}.csv"), source) for split in ("train", "test")}
    assert [(video.name, video.labels) for video in lists["train"]] == [("v/46GP8.mp4", (0, 1)), ("v/N11GT.mp4", ())]
    assert [(video.name, video.labels) for video in lists["test"]] == [("v/YSKX3.mp4", (1,))]


AVA = {
    "ava_action_list_v2.2.pbtxt": (
        'label {\n  name: "stand"\n  label_id: 12\n  label_type: PERSON_MOVEMENT\n}\n'
        'label {\n  name: "bend/bow (at the waist)"\n  label_id: 1\n  label_type: PERSON_MOVEMENT\n}\n'
    ),
    "kinetics_train_v1.0.csv": (
        "-5KQ66BBWC4,12.517510,0.077,0.151,0.283,0.811,12\n"
        "-5KQ66BBWC4,12.517510,0.077,0.151,0.283,0.811,1\n"
        "-5KQ66BBWC4,12.517510,0.226,0.032,0.366,0.497,12\n"
        "-5KQ66BBWC4,27.25,0.1,0.1,0.9,0.9,1\n"
        "_a_b_000001,903\n"
    ),
    "kinetics_val_v1.0.csv": "gone0000000,4.000000,0.1,0.1,0.9,0.9,12\n",
}


def test_ava_kinetics(tmp_path: Path) -> None:
    """Three seconds round each key frame, in the clip that holds it, with the actions of all persons in it."""
    films = ("k/-5KQ66BBWC4_000012_000022.mp4", "k/-5KQ66BBWC4_000020_000030.mp4", "k/_a_b_000001.mp4")
    source = write(tmp_path / "in", AVA, *films)
    root, counts, different = prepare("ava-kinetics", source, tmp_path / "out", Official(2))
    assert different == ["val: 1 of 1 video is not there, first gone0000000.mp4#t=2.5,5.5"]
    dataset = VideoList()
    dataset.labels = "multi"
    videos = dataset.load(str(tmp_path / "out/lists/train.csv"), root)
    assert counts == {"train": 3, "val": 0} and sorted((video.id, video.labels) for video in videos) == [
        ("k/-5KQ66BBWC4_000012_000022.mp4#t=0,2.01751", (0, 1)),
        ("k/-5KQ66BBWC4_000020_000030.mp4#t=5.75,8.75", (0,)),
        ("k/_a_b_000001.mp4#t=901.5,904.5", ()),
    ]
    assert classes(tmp_path / "out") == ["bend/bow (at the waist)", "stand"]


def test_an_action_that_ava_does_not_name(tmp_path: Path) -> None:
    rows = AVA["kinetics_train_v1.0.csv"].replace(",12\n", ",13\n")
    source = write(tmp_path / "in", AVA | {"kinetics_train_v1.0.csv": rows})
    with pytest.raises(DataListError, match=r"kinetics_train_v1\.0\.csv: -5KQ66BBWC4,12.517510,.* is not as published"):
        prepare("ava-kinetics", source, tmp_path / "out", Official(2))


@pytest.mark.parametrize(("name", "labels", "val"), [("epic-verbs", [0, 1], 0), ("epic-nouns", [0, 2], 1)])
def test_epic_kitchens(name: str, labels: list[int], val: int, tmp_path: Path) -> None:
    source = write(tmp_path / "in", EPIC, "P01/videos/P01_01.MP4", "P01/videos/P01_11.MP4")
    lists, different = made(name, source, tmp_path / "out", 2 + val)
    of = {"P01_01.MP4#t=0.14,3.37": (1, 0), "P01_01.MP4#t=3724.37,3726.17": (0, 2)}
    train = [(f"P01/videos/{part}", both[name == "epic-nouns"]) for part, both in of.items()]
    assert lists == {"train": sorted(train, key=lambda row: row[1]), "val": [("P01/videos/P01_11.MP4#t=0,1.89", val)]}
    assert not different and [label for _, label in lists["train"]] == labels
    assert classes(tmp_path / "out") == (["take", "open"] if name == "epic-verbs" else ["door", "plate", "light"])


def test_activitynet(tmp_path: Path) -> None:
    files = {"activity_net.v1-3.min.json": json.dumps(ACTIVITYNET)}
    source = write(tmp_path / "in", files, "train/v_sJFgo9H6zNo.mkv", "val/V1zhqaGFY2A.mp4")
    lists, different = made("activitynet", source, tmp_path / "out", 2)
    assert lists == {
        "train": [("train/v_sJFgo9H6zNo.mkv#t=1.5,9.25", 0), ("train/v_sJFgo9H6zNo.mkv#t=0,124.23", 1)],
        "val": [("val/V1zhqaGFY2A.mp4#t=3,4.5", 0)],
    }
    assert classes(tmp_path / "out") == ["Beer pong", "Fun sliding down"]
    assert different == ["val: 1 part is left out, which end before they start, first val/V1zhqaGFY2A.mp4#t=5,4"]


def test_kinetics_of_whole_films(tmp_path: Path) -> None:
    header = "label,youtube_id,time_start,time_end,split\n"
    files = {
        "train.csv": f"{header}using segway,R6llTwEh07w,2,12,train\nair drumming,_-abc,123,133,train\n",
        "val.csv": f"{header}using segway,R6llTwEh07w,40,50,val\n",
    }
    source = write(tmp_path / "in", files, "films/R6llTwEh07w.mp4", "clips/_-abc_000123_000133.mp4", "films/_-abc.mp4")
    lists, different = made("kinetics", source, tmp_path / "out", 2)
    assert not different and lists == {
        "train": [("clips/_-abc_000123_000133.mp4", 0), ("films/R6llTwEh07w.mp4#t=2,12", 1)],
        "val": [("films/R6llTwEh07w.mp4#t=40,50", 1)],
    }


@pytest.mark.parametrize(
    ("name", "files", "old", "new", "said"),
    [
        ("charades", CHARADES, "c001 11.90 21.20", "c001 11.90", r"_train\.csv: 46GP8 is not as published: not enough"),
        ("charades", CHARADES, "c001 0.00", "c157 0.00", r"_test\.csv: YSKX3 is not as published: there is no 'c157'"),
        ("charades", CHARADES, ",actions,", ",acts,", "has no column 'actions'"),
        ("epic-verbs", EPIC, "00:00:03.37", "3.37", r"_train\.csv: P01_01_0 is not as published: not enough"),
        ("epic-nouns", EPIC, ",door,0,", ",door,7,", r"_train\.csv: P01_01_0 is not as published: there is no '7'"),
        (
            "activitynet",
            {"activity_net.json": json.dumps(ACTIVITYNET)},
            '"segment"',
            '"seg"',
            "there is no 'segment'; expected",
        ),
        (
            "activitynet",
            {"activity_net.json": json.dumps(ACTIVITYNET)},
            '"database"',
            '"data"',
            r"expected \{\"database\"",
        ),
    ],
)
def test_other_content_is_one_line(
    name: str, files: dict[str, str], old: str, new: str, said: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "in", {file: content.replace(old, new) for file, content in files.items()}, "a.mp4")
    with pytest.raises(DataListError, match=said) as error:
        prepare(name, source, tmp_path / "out", Official(2))
    assert "\n" not in str(error.value)


def test_the_tool_knows_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in", EPIC, "P01_01.MP4", "P01_11.MP4")
    assert main(["epic-verbs", str(source), "--out", str(tmp_path / "out")]) == 3
    shown = capsys.readouterr()
    assert shown.err == "not as published: 2 classes; published: 97\n" and "2 train, 1 val" in shown.out


def test_classes_of_one_list_alone_are_numbered_by_name(tmp_path: Path) -> None:
    names = ["swim", "run", "dive", "jump", "climb"]
    records = {
        str(number): {"subset": "validation" if number % 2 else "training", "annotations": [{"label": name, "segment": [0, 1]}]}
        for number, name in enumerate(names)
    }  # fmt: skip
    source = write(tmp_path, {"activity_net.json": json.dumps({"database": records})})
    found = activitynet(source, tmp_path)
    assert found.class_names == sorted(names)
    assert [row.label for row in found.lists["train"]] == [4, 1, 0] and [row.label for row in found.lists["val"]] == [
        3,
        2,
    ]


@pytest.mark.parametrize(
    ("name", "files", "old", "new", "said"),
    [
        ("charades", CHARADES, "c001 Putting", "c002 Putting", "its rows are not numbered from c000"),
        ("epic-verbs", EPIC, "\n1,open", "\n2,open", "its ids are not 0 to 1"),
    ],
)
def test_other_numbers_of_classes_are_refused(
    name: str, files: dict[str, str], old: str, new: str, said: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "in", {file: content.replace(old, new) for file, content in files.items()}, "a.mp4")
    with pytest.raises(DataListError, match=said):
        prepare(name, source, tmp_path / "out", Official(2))


def test_a_mark_of_utf_8_is_no_part_of_a_name(tmp_path: Path) -> None:
    files = {file: f"\ufeff{content}" for file, content in EPIC.items()}
    source = write(tmp_path / "in", files, "P01_01.MP4", "P01_11.MP4")
    lists, _ = made("epic-verbs", source, tmp_path / "out", 2)
    assert lists["val"] == [("P01_11.MP4#t=0,1.89", 0)]
