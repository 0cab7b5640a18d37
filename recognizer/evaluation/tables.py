"""The report as text for people: figures with their protocols beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from faces.text import counted, text_table

MACRO = ("macro precision", "recall", "F1")


def format_report(report: Mapping[str, Any]) -> str:
    """All sections that the report has."""
    photos, failed = report["photos"], report["failed"]
    lines = [
        report["source"],
        f"  {counted(photos, 'photo')} of {counted(report['people'], 'person')}; "
        f"faces: {report['boxes']}; {counted(failed, 'photo')} without a face",
    ]
    if report["left_out"]:
        lines.append(f"  {report['left_out']:,} more photos were left out (max_photos)")
    writers = {
        "listed_pairs": _listed,
        "every_pair": _every,
        "identification": _identification,
        "groups": _groups,
        "yaw": _yaw,
    }
    for key, write in writers.items():
        if key in report:
            lines += write(report[key])
    return "\n".join(lines)


def _listed(section: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            result["name"],
            _accuracy(result),
            _share(result["auc"]),
            _share(result["eer"]),
            *(_share(tar["tar"]) for tar in result["tar"]),
            _threshold(result["best_threshold"]),
        ]
        for result in section["results"]
    ]
    first = section["results"][0]
    header = ["", "accuracy", "AUC", "EER", *_tar_names(first), "best threshold"]
    return [
        "",
        f"Verification: {section['protocol']}; {section['genuine']:,} genuine and "
        f"{section['impostor']:,} impostor pairs",
        *text_table(header, rows),
        *_too_few(first["tar"], "impostor pairs", section["impostor"], "TAR at FAR", "far"),
    ]


def _every(section: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            result["name"],
            _share(result["auc"]),
            _share(result["eer"]),
            *(_share(tar["tar"]) for tar in result["tar"]),
            *(_threshold(tar["threshold"]) for tar in result["tar"]),
        ]
        for result in section["results"]
    ]
    first = section["results"][0]
    ats = [f"threshold @{tar['far']:g}" for tar in first["tar"]]
    lines = [
        "",
        f"Verification: {section['protocol']}; {section['photos']:,} photos of "
        f"{section['people']:,} people, {section['genuine']:,} genuine and "
        f"{section['impostor']:,} impostor pairs",
        *text_table(["", "AUC", "EER", *_tar_names(first), *ats], rows),
        *_too_few(first["tar"], "impostor pairs", section["impostor"], "TAR at FAR", "far"),
    ]
    if not section["genuine"]:
        lines.append("  no person has two photos: nothing can be said about genuine pairs")
    if not section["impostor"]:
        lines.append("  there is one person only: nothing can be said about impostor pairs")
    return lines


def _identification(section: Mapping[str, Any]) -> list[str]:
    results = section["results"]
    rows = [
        [
            result["name"],
            _share(result["rank1"]),
            _share(result["rank5"]),
            *_macro(result["nearest"]),
            *(_share(at["fnir"]) for at in result["fnir"]),
        ]
        for result in results
    ]
    ats = [f"FNIR @FPIR {at['fpir']:g}" for at in results[0]["fnir"]]
    lines = [
        "",
        f"Identification: {section['protocol']}; {section['enrolled']:,} people enrolled, "
        f"{section['mated']:,} probes of them, {section['nonmated']:,} of strangers",
        *text_table(["nearest person", "rank 1", "rank 5", *MACRO, *ats], rows),
        *_too_few(
            results[0]["fnir"], "probes of strangers", section["nonmated"], "FNIR at FPIR", "fpir"
        ),
    ]
    rows = [
        [
            result["name"],
            _share(result["rule"]["fnir"]),
            _share(result["rule"]["misidentified"]),
            _share(result["rule"]["fpir"]),
            _share(result["rule"]["accuracy"]),
            *_macro(result["rule"]),
            _limits(result["rule"]),
        ]
        for result in results
    ]
    header = ["the rule", "FNIR", "wrong name", "FPIR", "accuracy", *MACRO, "threshold"]
    lines += ["", *text_table(header, rows)]
    lines += [f"  threshold of {r['name']}: {r['rule']['origin']}" for r in results]
    mixed = results[0]["rule"]["confusions"][:3]
    if mixed:
        words = [f"{c['person']} named {c['named']} ({c['probes']} x)" for c in mixed]
        lines.append(f"  mixed up most by {results[0]['name']}: {'; '.join(words)}")
    return lines


def _groups(section: Mapping[str, Any]) -> list[str]:
    lines = [
        "",
        f"Groups: {section['protocol']}; threshold {_threshold(section['threshold'])}: "
        f"{section['origin']}",
    ]
    header = ["people", "photos", "no face", "95 %", "genuine", "impostor", "FNMR", "95 %"]
    header += ["FMR", "95 %", f"threshold @{section['fmr']:g}"]
    for i, kind in enumerate(section["kinds"]):
        rows = [
            [
                group["group"],
                *(f"{group[key]:,}" for key in ("people", "images")),
                _rate(group["failed"] / max(group["images"], 1)),
                _interval(group["failed_interval"]),
                *(f"{group[key]:,}" for key in ("genuine", "impostor")),
                _rate(group["fnmr"]),
                _interval(group["fnmr_interval"]),
                _rate(group["fmr"]),
                _interval(group["fmr_interval"]),
                _threshold(group["threshold"]),
            ]
            for group in kind["groups"]
        ]
        lines += [""] * (i > 0) + text_table([kind["kind"], *header], rows)
        for name in ("fnmr", "fmr"):
            ratio = kind[f"{name}_ratio"]
            lines.append(f"  largest {name.upper()} ratio: {_ratio(ratio)}")
        own = [group["threshold"] for group in kind["groups"] if group["threshold"] is not None]
        if own:
            lines.append(
                f"  threshold {_threshold(max(own))} keeps every group that has one at a false "
                f"match rate of {section['fmr']:g}"
            )
        if kind["unlabeled"]:
            lines.append(f"  {kind['unlabeled']:,} photos have no such label")
    return lines


def _yaw(section: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            f"{r['least']:g} to {r['most']:g}" if r["most"] is not None else f"{r['least']:g} on",
            *(f"{r[key]:,}" for key in ("genuine", "impostor")),
            _rate(r["fnmr"]),
            _interval(r["fnmr_interval"]),
            _rate(r["fmr"]),
        ]
        for r in section["turned"]
    ]
    lines = [
        "",
        f"Turned faces: every photo against every other, by the degrees to the side of the more "
        f"turned one; threshold {_threshold(section['threshold'])}",
        *text_table(["degrees", "genuine", "impostor", "FNMR", "95 %", "FMR"], rows),
    ]
    if section["unknown"]:
        lines.append(f"  of {section['unknown']:,} faces no landmarks were found")
    return lines


def _too_few(
    points: Sequence[Mapping[str, Any]], what: str, count: int, figure: str, rate: str
) -> list[str]:
    """A line for the figures that need more trials than there are."""
    short = [point for point in points if point["needed"] > count]
    if not short:
        return []
    needs = ", ".join(f"{point[rate]:g} needs {point['needed']:,}" for point in short)
    return [f"  {figure}: with {count:,} {what} some rates cannot be measured ({needs})"]


def _tar_names(result: Mapping[str, Any]) -> list[str]:
    return [f"TAR @FAR {tar['far']:g}" for tar in result["tar"]]


def _accuracy(result: Mapping[str, Any]) -> str:
    mean = f"{result['accuracy']:.4f}"
    if result["standard_error"] is not None:
        return f"{mean} +- {result['standard_error']:.4f}"
    low, high = result["interval"]
    return f"{mean} ({low:.4f} .. {high:.4f})"


def _limits(rule: Mapping[str, Any]) -> str:
    cosine = _threshold(rule["thresholds"]["gallery"])
    return f"{cosine}, head {rule['thresholds']['head']:.2f}" if rule["head"] else cosine


def _macro(figures: Mapping[str, Any]) -> list[str]:
    return [_share(figures["macro"][key]) for key in ("precision", "recall", "f1")]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _threshold(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.2g} .. {interval[1]:.2g}"


def _ratio(ratio: Mapping[str, Any] | None) -> str:
    if ratio is None:
        return "none, it needs two groups with such pairs and an error"
    groups = f"{ratio['worst']} to {ratio['best']}"
    if ratio["ratio"] is None:
        return f"{groups}, without bound: {ratio['best']} has no error"
    if ratio["interval"] is None:
        return f"{ratio['ratio']:.2f} ({groups})"
    low, high = ratio["interval"]
    end = "without bound" if high is None else f"{high:.2f}"
    return f"{ratio['ratio']:.2f} ({groups}; 95 % {low:.2f} .. {end})"
