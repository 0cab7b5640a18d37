"""Where an exported ONNX file of ours spends its time: by part of the network and by operator.

ONNX Runtime's profiler gives a time for every node of the graph as it was optimized, where nodes
are fused and renamed. Each is traced back to the part it came from: the parts follow one another,
so a node belongs to the furthest part that its weights or its inputs belong to.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.errors import UserError

PARTS = (
    "input",  # bytes to normalized numbers
    "backbone",
    "pyramid",
    "RPN convolutions",
    "RPN proposals",  # the best anchors, their boxes, the first suppression
    "RoI",  # pooling, box head, the last suppression
)

# How the attributes of `detector.export.graph.FaceGraph` begin -> the part whose weights they hold.
# The first that fits counts.
_WEIGHTS = {
    "dense.backbone.lateral.": "pyramid",
    "dense.backbone.smooth.": "pyramid",
    "dense.backbone.": "backbone",
    "dense.tower.": "RPN convolutions",
    "dense.outputs.": "RPN convolutions",
    "head.": "RoI",
    "predictor.": "RoI",
}
_LAST_CONVOLUTION = "dense.outputs."
_OPERATORS = {"TopK": "RPN proposals", "NonMaxSuppression": "RPN proposals", "RoiAlign": "RoI"}


@dataclass(frozen=True)
class Profile:
    """Seconds an image, medians over the images."""

    # for each part of the network and kind of operator, in the order of the network
    parts: Mapping[tuple[str, str], float]
    runtime: float  # spent in ONNX Runtime outside of the operators
    around: float  # the call's rest: padding, copies, making `Detections`
    total: float  # the whole call. The profiler itself takes time: more than without it.
    images: int  # how many were looked at


def profile(path: Path, images: Sequence[NDArray[np.uint8]], threads: int = 1) -> Profile:
    """Look at ``images`` (RGB uint8, sides as they shall be seen) with an ONNX file of ours.

    Each is looked at twice, and the second time counts. Raises UserError for a file that is not an
    ONNX file of ours.
    """
    import onnx

    from detector.benchmark.contestants import THRESHOLD, Contestant, open_contestant
    from detector.inference.load import file_kind
    from faces.networks.onnx_session import onnxruntime

    if file_kind(path) != "onnx":
        raise UserError(f"{path}: only ONNX files can be profiled; export one with `faces export`")
    detector: Any = open_contestant(Contestant("ours", path.name, "", path), threads, THRESHOLD)
    with tempfile.TemporaryDirectory() as name:
        optimized = Path(name) / "optimized.onnx"
        # The same options as in everyday use, and the profiler.
        options = detector.network.session.get_session_options()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(name) / "profile")
        options.optimized_model_filepath = str(optimized)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        detector.network.session = session
        calls = []
        for image in images:
            detector.detect(image)
            start = time.perf_counter()
            detector.detect(image)
            calls.append(time.perf_counter() - start)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        part_of = parts_of(onnx.load(path).graph, onnx.load(optimized).graph)
    runs = [laps for laps in node_times(events) if laps.nodes][1::2]
    return _summary(runs, calls, part_of)


@dataclass(frozen=True)
class Run:
    """One call of the session: seconds in all, and for each node its operator and seconds."""

    seconds: float
    nodes: Mapping[str, tuple[str, float]]


def node_times(events: Iterable[Mapping[str, Any]]) -> list[Run]:
    """The runs in a profile of ONNX Runtime (a list of Chrome trace events, in microseconds)."""
    runs = sorted(
        (event["ts"], event["ts"] + event["dur"])
        for event in events
        if event.get("cat") == "Session" and event["name"] == "model_run"
    )
    starts = np.array([start for start, _ in runs])
    nodes: list[dict[str, tuple[str, float]]] = [{} for _ in runs]
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            run = int(np.searchsorted(starts, event["ts"], side="right")) - 1
            if run >= 0:
                operator = event["args"]["op_name"]
                name = event["name"].removesuffix("_kernel_time")
                _, before = nodes[run].get(name, ("", 0.0))
                nodes[run][name] = (operator, before + event["dur"] / 1e6)
    return [
        Run((end - start) / 1e6, found) for (start, end), found in zip(runs, nodes, strict=True)
    ]


def parts_of(graph: Any, optimized: Any) -> Callable[[str], str]:
    """A function that names the part of a node of the optimized graph (`onnx.GraphProto`)."""
    tensors = _parts_of_tensors(graph, {})
    names = {node.name: tensors[node.output[0]] for node in graph.node if node.output}
    # What optimization left as it was keeps its tensors' names; what is new inherits its inputs'.
    later = _parts_of_tensors(optimized, tensors)
    for node in optimized.node:
        names.setdefault(node.name, later[node.output[0]])
    return lambda name: PARTS[names.get(name, 0)]


def _parts_of_tensors(graph: Any, known: Mapping[str, int]) -> dict[str, int]:
    """The position in PARTS of every tensor that nodes make; those ``known`` stay as they are."""
    parts: dict[str, int] = {}
    finished: set[str] = set()  # what the last convolutions of the proposal network made
    for node in graph.node:
        # ONNX Runtime names blocked convolutions after the tensor that they used to make.
        old = known.get(node.name.removesuffix("_nchwc"), known.get(node.output[0]))
        part = max([parts.get(name, 0) for name in node.input], default=0)
        if node.op_type in _OPERATORS:
            part = max(part, PARTS.index(_OPERATORS[node.op_type]))
        if finished.intersection(node.input):
            part = max(part, PARTS.index("RPN proposals"))
        for name in node.input:
            for prefix, weights in _WEIGHTS.items():
                if name.startswith(prefix):
                    part = max(part, PARTS.index(weights))
                    break
            if name.startswith(_LAST_CONVOLUTION):
                finished.update(node.output)
        parts.update(dict.fromkeys(node.output, part if old is None else old))
    return parts


def _summary(runs: Sequence[Run], calls: Sequence[float], part_of: Callable[[str], str]) -> Profile:
    by_part: list[dict[tuple[str, str], float]] = []
    for run in runs:
        sums: dict[tuple[str, str], float] = defaultdict(float)
        for name, (operator, seconds) in run.nodes.items():
            sums[part_of(name), operator] += seconds
        by_part.append(sums)
    keys = {key for sums in by_part for key in sums}
    middle = {key: float(np.median([sums.get(key, 0.0) for sums in by_part])) for key in keys}
    order = sorted(middle, key=lambda key: (PARTS.index(key[0]), -middle[key]))
    inside = [sum(sums.values()) for sums in by_part]
    return Profile(
        {key: middle[key] for key in order},
        float(np.median([run.seconds - nodes for run, nodes in zip(runs, inside, strict=True)])),
        float(np.median([call - run.seconds for call, run in zip(calls, runs, strict=True)])),
        float(np.median(calls)),
        len(calls),
    )


def profile_markdown(found: Profile, name: str) -> str:
    """Two tables: parts of the network, and operators within them; ``name`` is the file's.

    Operators below 0.5 % of the whole are added up as "others".
    """
    rows: list[tuple[str, float]] = []
    operators: list[tuple[str, str, float]] = []
    for part in PARTS:
        own = {operator: t for (where, operator), t in found.parts.items() if where == part}
        if not own:
            continue
        rows.append((part, sum(own.values())))
        large = {operator: t for operator, t in own.items() if t >= 0.005 * found.total}
        operators += [(part, operator, t) for operator, t in large.items()]
        if len(large) < len(own):
            rest = sum(own.values()) - sum(large.values())
            operators.append((part, f"{len(own) - len(large)} others", rest))
    rows += [("ONNX Runtime between operators", found.runtime)]
    rows += [("around it: padding, copies, results", found.around)]
    lines = [
        f"Where `{name}` spends its time: medians over {found.images} images, "
        f"{1000 * found.total:.1f} ms in all with the profiler on.",
        "",
        "| part | ms | share |",
        "|---|--:|--:|",
        *(f"| {part} | {1000 * t:.2f} | {t / found.total:.1%} |" for part, t in rows),
        "",
        "| part | operator | ms | share |",
        "|---|---|--:|--:|",
        *(
            f"| {part} | {operator} | {1000 * t:.2f} | {t / found.total:.1%} |"
            for part, operator, t in operators
        ),
    ]
    return "\n".join(lines) + "\n"
