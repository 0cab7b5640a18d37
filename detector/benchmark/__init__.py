"""Detectors side by side: how long they take, what they need, how good they are.

    peers        other people's detectors behind `detector.types.Detector`, and the bare backbone
    contestants  who takes part: files of ours, files of peers, what comes with packages
    pictures     what they look at, and their WIDER FACE average precision on it
    timing       each contestant in a process of its own; images given to all in turn
    table        the results as Markdown, JSON and a scatter plot
    profiling    where an exported file of ours spends its time

`scripts/benchmark.py` puts them together.
"""
