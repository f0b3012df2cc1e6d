"""What `robust_table` found, as json, tables and a picture: means and deviations over seeds, and which differ by more."""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Records = list[dict[str, Any]]
COLUMNS = {  # where it stands in a record: its name, all in percent
    "clean": "clean",
    "mean_corrupted": "corrupted",
    "reversed": "backwards",
    "mean_shift": "other rates",
    "unknown.energy": "unknown (AUROC)",
    "attacks.pgd_linf_1": "PGD, 1 level",
}
ATTACKS = {
    "attacks.none": "these clips",
    "attacks.random_linf_4": "4 at random",
    "attacks.fgsm_linf_4": "FGSM 4",
    "attacks.pgd_linf_4": "PGD 4",
    "attacks.pgd_linf_4_1_frame": "PGD 4, one frame",
    "attacks.pgd_linf_1": "PGD 1",
    "attacks.pgd_l2_1": "PGD L2 1",
}
UNKNOWN = {"unknown.msp": "highest probability", "unknown.energy": "energy", "unknown.knn": "10th neighbour"}
PROBES = {
    f"forgetting.{task}.{when}": f"{task}, {when}"
    for task in ("motions", "shapes")
    for when in ("before", "tuned", "removed")
}
OURS = "adaptformer-64"


def write_page(out: Path, records: Records, tried: Records, setting: dict[str, Any]) -> None:
    """Write robust_table.json, .md and .png into `out`; trainings that diverged are counted, and in no mean."""
    whole = [record for record in records if "clean" in record]
    content = {"setting": setting, "records": records, "chosen_from": tried}
    (out / "robust_table.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    lines = [
        f"{len(whole)} trainings, {len(records) - len(whole)} diverged; {setting['machine']}, torch {setting['torch']}, "
        f"{setting['seconds']} s.",
        "",
    ]
    for trunk in dict.fromkeys(record["trunk"] for record in whole):
        plain = grouped(whole, trunk, "plain")
        lines += [f"## The {trunk} trunk", "", *table(plain, COLUMNS, bold=True), "", *findings(plain), ""]
        for title, columns in (("Attacks", ATTACKS), ("Unknown motions", UNKNOWN), ("Forgetting", PROBES)):
            lines += [f"### {title}", "", *table(plain, columns), ""]
        kinds = {f"corrupted.{kind}": kind.replace("_", " ") for kind in whole[0]["corrupted"]}
        lines += ["### Each corruption", "", *turned_table(plain, kinds), ""]
        lines += augmented(whole, trunk)
    (out / "robust_table.md").write_text("\n".join(lines), encoding="utf-8")
    draw(out / "robust_table.png", whole)


def grouped(records: Records, trunk: str, recipe: str) -> dict[str, Records]:
    """The trainings of each method."""
    found: dict[str, Records] = defaultdict(list)
    for record in records:
        if (record["trunk"], record["recipe"]) == (trunk, recipe):
            found[record["method"]].append(record)
    return dict(found)


def value(record: dict[str, Any], key: str) -> float:
    """What stands at `a.b` in a record."""
    found: Any = record
    for part in key.split("."):
        found = found[part]
    return float(found)


def mean_and_spread(records: Records, key: str) -> tuple[float, float]:
    """Mean and standard deviation over seeds; of one training the spread is not a number."""
    values = [value(record, key) for record in records]
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def table(groups: dict[str, Records], columns: dict[str, str], bold: bool = False) -> list[str]:
    """A row for each method."""
    lines = [_row(["method", "trained", "rate", *columns.values()]), "| --- |" + " ---: |" * (len(columns) + 2)]
    best = {key: max(mean_and_spread(of, key)[0] for of in groups.values()) for key in columns}
    for name, of in groups.items():
        cells = [_said(of, key, bold and mean_and_spread(of, key)[0] == best[key]) for key in columns]
        lines.append(_row([name, f"{of[0]['trained']:,}", f"{of[0]['rate']:g}", *cells]))
    return lines


def turned_table(groups: dict[str, Records], columns: dict[str, str]) -> list[str]:
    """A column for each method."""
    lines = [_row(["", *groups]), "| --- |" + " ---: |" * len(groups)]
    return lines + [_row([name, *(_said(of, key) for of in groups.values())]) for key, name in columns.items()]


def augmented(records: Records, trunk: str) -> list[str]:
    """The recipes of augmentation beside one another."""
    recipes = list(dict.fromkeys(record["recipe"] for record in records if record["trunk"] == trunk))
    if len(recipes) < 2:
        return []
    of_each = {recipe: grouped(records, trunk, recipe) for recipe in recipes}
    rows = {
        f"{method}, {recipe}": of_each[recipe][method]
        for method in of_each["plain"]
        for recipe in recipes
        if method in of_each[recipe] and any(method in of_each[other] for other in recipes if other != "plain")
    }
    kinds = {f"corrupted.{kind}": kind.replace("_", " ") for kind in next(iter(rows.values()))[0]["corrupted"]}
    return ["### Augmented training", "", *table(rows, COLUMNS), "", *turned_table(rows, kinds), ""]


def findings(groups: dict[str, Records]) -> list[str]:
    """Who is best at what and by how much, and where AdaptFormer is not."""
    lines = []
    for key, name in COLUMNS.items():
        order = sorted(groups, key=lambda method: -mean_and_spread(groups[method], key)[0])
        if len(order) > 1:
            lines.append(f"- **{name}**: {order[0]}, {_ahead(groups, key, order[0], order[1])}.")
        if OURS in order[1:]:
            by = "" if order[1] == OURS else f": {order[0]} is {_ahead(groups, key, order[0], OURS)}"
            lines[-1] += f" {OURS} is not the best{by}."
    return lines


def _ahead(groups: dict[str, Records], key: str, first: str, second: str) -> str:
    (one, spread), (other, others) = (mean_and_spread(groups[name], key) for name in (first, second))
    limit = 2 * math.hypot(spread, others)
    within = (
        "which the spread of one seed leaves open"
        if math.isnan(limit)
        else (f"beyond the spread ({limit:.1f})" if one - other > limit else f"within the spread ({limit:.1f})")
    )
    return f"{one - other:.1f} points ahead of {second}, {within}"


def _said(records: Records, key: str, bold: bool = False) -> str:
    mean, spread = mean_and_spread(records, key)
    said = f"{mean:.1f}" if math.isnan(spread) else f"{mean:.1f} ± {spread:.1f}"
    return f"**{said}**" if bold else said


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def draw(path: Path, records: Records) -> None:
    """A row of panels for each trunk, a panel for each column, a line for each method: mean, and a bar of one deviation."""
    import matplotlib.pyplot as plt

    trunks = list(dict.fromkeys(record["trunk"] for record in records))
    figure, axes = plt.subplots(
        len(trunks),
        len(COLUMNS),
        figsize=(13, 0.6 + 2.5 * len(trunks)),
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for trunk, row in zip(trunks, axes, strict=True):
        groups = grouped(records, trunk, "plain")
        for (key, name), panel in zip(COLUMNS.items(), row, strict=True):
            for place, (method, of) in enumerate(groups.items()):
                mean, spread = mean_and_spread(of, key)
                colour = "#c2410c" if method == OURS else "#334155"
                panel.errorbar(mean, place, xerr=0 if math.isnan(spread) else spread, fmt="o", color=colour, capsize=3)
            chance = 50 if key.startswith("unknown") else 6.25
            panel.axvline(chance, color="#94a3b8", linestyle=":", linewidth=1)
            panel.set_title(f"{name} (%)", fontsize=10)
            panel.grid(axis="x", color="#e2e8f0")
        row[0].set_yticks(range(len(groups)), list(groups))
        row[0].set_ylabel(f"{trunk} trunk")
        row[0].invert_yaxis()
    figure.suptitle("Mean and standard deviation over seeds; dotted: chance", fontsize=10)
    figure.savefig(path, dpi=120)
    plt.close(figure)
