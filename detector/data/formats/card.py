"""A card for a data set that is written: README.md with the YAML head that data hubs read."""

from __future__ import annotations

import json
from collections.abc import Mapping

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))


def card(
    name: str,
    format: str,
    images: Mapping[str, int],
    boxes: Mapping[str, int],
    told: Mapping[str, int],
) -> str:
    """The text of a card (https://huggingface.co/docs/hub/datasets-cards).

    Args:
        name: of the data set.
        format: as `faces prepare export --format` calls it.
        images, boxes: how many, by split.
        told: what is other than it was, in words, and how often.

    Where the pictures are from and what may be done with them only their owner knows: the license
    is "unknown", and the text says what to fill in.
    """
    total = sum(images.values())
    size = next((text for limit, text in _SIZES if total < limit), "1M<n<10M")
    rows = [f"| {split or 'all'} | {images[split]:,} | {boxes[split]:,} |" for split in images]
    changed = [f"- {what}: {count:,}" for what, count in told.items() if count]
    lines = [
        "---",
        f"pretty_name: {json.dumps(name, ensure_ascii=False)}",
        "license: unknown",
        "task_categories: [object-detection]",
        f"size_categories: [{json.dumps(size)}]",
        f"tags: [face-detection, {format}]",
        "---",
        "",
        f"# {name}",
        "",
        f"Pictures with boxes around faces, in the format `{format}`, written by Faces.",
        "",
        "| part | pictures | boxes |",
        "|---|---|---|",
        *rows,
        "",
        *(["Other than in the original:", "", *changed, ""] if changed else []),
        "To be filled in by whoever publishes it: where the pictures are from, whether the people",
        "in them agreed, and the license.",
    ]
    return "\n".join(lines) + "\n"
