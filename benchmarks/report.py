"""From the JSON files to the tables of this folder's README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- results: written by `make bench` -->", "<!-- end of results -->"
TITLES = {
    "speed": "Training speed, one epoch of each in turn",
    "quality": "Time to quality",
    "growth": "Growth",
    "memory": "Memory",
    "evaluation": "Evaluation and generation",
    "conv": "Training speed, convolutional model",
    "threads": "One thread and two",
}


def write(readme: Path, results: Path) -> None:
    """Put the tables of all results between the markers of ``readme``."""
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n\n{tables(results)}\n{END}{after}", encoding="utf-8")


def tables(results: Path) -> str:
    """Return the tables of all parts that have been measured, as Markdown."""
    parts = [results / f"{name}.json" for name in TITLES]
    return "\n".join(_section(json.loads(path.read_text(encoding="utf-8"))) for path in parts if path.exists())


def failures(result: dict[str, Any]) -> list[str]:
    """Return what should make the command fail: losses that differ, not times that are long."""
    return [row["what"] for row in result["figures"] if "relative difference" in row["what"] and not row["met"]]


def _section(result: dict[str, Any]) -> str:
    lines = [f"### {TITLES[result['part']]}", "", _circumstances(result), ""]
    if "contestants" in result:
        lines += [
            "| | seconds (fastest to slowest) | ours / it | at most | processor seconds | training loss |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_contestant(name, row) for name, row in result["contestants"].items()] + [""]
    if "tasks" in result:
        lines += ["| | 1 thread | all | all / 1, quartiles |", "|---|---|---|---|"]
        lines += [_task(name, row) for name, row in result["tasks"].items()] + [""]
    if result["figures"]:
        lines += ["| | measured | at most | |", "|---|---|---|---|"]
        lines += [_figure(row) for row in result["figures"]] + [""]
    if "note" in result:
        lines += [result["note"] + ".", ""]
    for name, reason in result.get("absent", {}).items():
        lines += [f"Absent: {name} ({reason}).", ""]
    return "\n".join(lines)


def _circumstances(result: dict[str, Any]) -> str:
    machine, load = result["machine"], result["load"]
    return (
        f"{result['date']}, {machine['cpu']}, {result['threads']} threads; {result['images']}"
        f"{', quick' if result['quick'] else ''}. Load average {load[0]:.1f} at the start, {load[1]:.1f} at the end."
    )


def _contestant(name: str, row: dict[str, Any]) -> str:
    seconds = f"{row['seconds']:.2f} ({row['fastest']:.2f} to {row['slowest']:.2f})"
    target, loss = row.get("target"), row.get("train_loss")
    return (
        f"| {name} | {seconds} | {_value(row['ratio'])} | {_target(target, row['ratio'])} | "
        f"{row['processor_seconds']:.2f} | "
        f"{'' if loss is None else f'{loss:.1f}'} |"
    )


def _task(name: str, row: dict[str, float]) -> str:
    times = " | ".join(f"{1000 * row[key]:.0f} ms" for key in ("one", "all"))
    return f"| {name} | {times} | {row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f}) |"


def _figure(row: dict[str, Any]) -> str:
    value = "" if row["value"] is None else f"{_value(row['value'])} {row['unit']}".strip()
    return f"| {row['what']} | {value} | {_target(row['target'], row['value'])} | {row['note']} |"


def _target(target: float | None, value: float | None) -> str:
    if target is None or value is None:
        return ""
    return f"{target:g}: {'met' if value <= target else '**not met**'}"


def _value(value: float) -> str:
    if 0 < abs(value) < 0.01:
        return f"{value:.0e}"
    return f"{value:.2f}" if abs(value) < 20 else f"{value:.0f}"
