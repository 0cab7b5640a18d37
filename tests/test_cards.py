"""The YAML heads of the model cards: model hubs can read them, and they say what the text says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

DOCS = Path(__file__).resolve().parents[1] / "docs"
CARDS = ("model-card.md", "recognizer-card.md")


def read(name: str) -> tuple[dict[str, Any], str]:
    """The head of a card, and its text."""
    text = (DOCS / name).read_text(encoding="utf-8")
    found = re.match(r"---\n(.*?)\n---\n\n(# .*)", text, re.S)
    assert found, f"{name} does not begin with a head between lines ---"
    return yaml.safe_load(found[1]), found[2]


def figures(head: dict[str, Any]) -> dict[tuple[str, str], float]:
    """Value by data set and metric; the fields are those that hubs demand of a result."""
    found = {}
    [model] = head["model-index"]
    assert model["name"]
    for result in model["results"]:
        assert result["task"]["type"]
        assert result["dataset"]["type"] in head["datasets"]
        for metric in result["metrics"]:
            assert metric["type"] in head["metrics"]
            found[result["dataset"]["name"], metric["name"]] = metric["value"]
    return found


@pytest.mark.parametrize("name", CARDS)
def test_the_head_has_what_hubs_read(name: str) -> None:
    head, _ = read(name)
    assert head["license"] == "other"  # weights made from research data are not MIT
    assert head["license_name"]
    assert head["license_link"].startswith("http")
    for key in ("tags", "datasets", "metrics"):
        assert head[key]
        assert all(isinstance(value, str) for value in head[key])
    assert all(isinstance(value, float) for value in figures(head).values())


def test_the_detectors_figures_are_those_of_the_text() -> None:
    head, text = read("model-card.md")
    rows = re.findall(r"^\| (640|1280|original) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", text, re.M)
    found = re.search(r"at 640: precision ([\d.]+), recall ([\d.]+) of all", text)
    assert len(rows) == 3
    assert found
    start = "WIDER FACE, 250 pictures of its validation split, "
    sides = {"640": "longest side 640", "1280": "longest side 1280", "original": "original size"}
    expected = {
        (start + sides[side], f"AP {part}"): float(value)
        for side, *values in rows
        for part, value in zip(("easy", "medium", "hard"), values, strict=True)
    }
    for name, value in zip(("Precision", "Recall"), found.groups(), strict=True):
        expected[start + sides["640"], f"{name} at score 0.5"] = float(value)
    assert figures(head) == expected


def test_the_embedders_figures_are_those_of_the_text() -> None:
    head, text = read("recognizer-card.md")
    row = re.search(
        r"^\| \*\*mini\*\* \| \*\*([\d.]+) %\*\* \(.*?\) \| ([\d.]+) \| ([\d.]+) % \|", text, re.M
    )
    rank = re.search(r"of each of (\d+) people enrolled: ([\d.]+) %", text)
    assert row
    assert rank
    pairs = "LFW, fold 6 (600 pairs)"
    expected = {
        (pairs, name): float(value)
        for name, value in zip(("Accuracy (%)", "AUC", "EER (%)"), row.groups(), strict=True)
    }
    people = f"LFW, fold 6, {rank[1]} people with three photos each enrolled"
    assert figures(head) == {**expected, (people, "Rank 1 (%)"): float(rank[2])}
