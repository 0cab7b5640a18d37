"""How long it takes to find the nearest of many people, and how often it is the right one.

    python benchmarks/search.py
    python benchmarks/search.py --people 1000000 --dimension 128 --threads 1

People are random unit vectors, the hardest case: nothing groups them. A query has a given cosine
with one of them (two photos of a person have 0.4 to 0.8), or with nobody (a stranger). Needs 5 GB
of memory for a million x 512, and faiss-cpu above 100,000.

Exit code 0: every size takes less than the limit, and recall@1 against exact search is at least
0.99 for every cosine; 1: not so. Strangers are shown and do not count: whoever is nearest to them
is too far away to be named.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RECALL = 0.99
BLOCK = 50_000


def random_people(count: int, dimension: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors float32 (count, dimension)."""
    random = np.random.default_rng(seed)
    vectors = np.empty((count, dimension), np.float32)
    for start in range(0, count, BLOCK):
        block = vectors[start : start + BLOCK]
        block[:] = random.standard_normal(block.shape, np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def probes(
    people: NDArray[np.float32], cosine: float, count: int, seed: int = 1
) -> NDArray[np.float32]:
    """Unit vectors with this cosine to one of the people each."""
    random = np.random.default_rng(seed)
    wanted = people[random.integers(0, len(people), count)]
    noise = random.standard_normal(wanted.shape, np.float32)
    noise -= (noise * wanted).sum(axis=1, keepdims=True) * wanted
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return (cosine * wanted + np.sqrt(1 - cosine**2) * noise).astype(np.float32)


def exact(people: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """Who is nearest, by comparing with everybody."""
    best = np.full(len(queries), -2, np.float32)
    who = np.zeros(len(queries), np.int64)
    for start in range(0, len(people), BLOCK):
        cosines = queries @ people[start : start + BLOCK].T
        top = cosines.max(axis=1)
        who = np.where(top > best, start + cosines.argmax(axis=1), who)
        best = np.maximum(top, best)
    return who


def measure(count: int, options: argparse.Namespace) -> bool:
    """Print a line for each kind of query; whether everything was within the limits."""
    from recognizer.search import build_index

    people = random_people(count, options.dimension)
    start = time.perf_counter()
    index = build_index(people)
    seconds = time.perf_counter() - start
    print(
        f"{count:,} people x {options.dimension}: {type(index).__name__}, built in {seconds:.1f} s"
    )
    kinds = {f"cosine {c:g}": probes(people, c, options.queries) for c in options.cosine}
    kinds["strangers"] = random_people(options.queries, options.dimension, seed=2)
    fine = True
    for kind, queries in kinds.items():
        truth = exact(people, queries)
        times, processor, found = [], [], []
        for query in queries:
            wall, cpu = time.perf_counter(), time.process_time()
            position, _ = index.search(query[None])
            times.append((time.perf_counter() - wall) * 1000)
            processor.append((time.process_time() - cpu) * 1000)
            found.append(int(position[0]))
        recall = float(np.mean(found == truth))
        median, slow = np.percentile(times, [50, 95])
        good = median < options.limit and (recall >= RECALL or kind == "strangers")
        fine &= good
        print(
            f"  {kind:<11} one query: median {median:6.1f} ms, 95 % below {slow:6.1f}, "
            f"processor {np.median(processor):6.1f}; recall@1 {recall:.3f}"
            + ("" if good else "   <- NOT within the limits")
        )
    return fine


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--people", type=int, nargs="+", default=[1_000, 100_000, 1_000_000], help="sizes"
    )
    parser.add_argument("--dimension", type=int, default=512, help="[512]")
    parser.add_argument("--queries", type=int, default=200, help="of each kind [200]")
    parser.add_argument(
        "--cosine", type=float, nargs="+", default=[0.7, 0.5, 0.4], help="[.7 .5 .4]"
    )
    parser.add_argument("--limit", type=float, default=30.0, help="most milliseconds [30]")
    parser.add_argument("--threads", type=int, help="of NumPy and faiss [all]")
    options = parser.parse_args(argv)
    if options.threads is not None and "OMP_NUM_THREADS" not in os.environ:
        # The libraries read it once, when they are loaded.
        threads = str(options.threads)
        os.environ |= {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    if hasattr(os, "getloadavg"):
        print(f"load of the machine before: {os.getloadavg()[0]:.1f} (0 is an idle one)")
    results = [measure(count, options) for count in options.people]
    print("within the limits" if all(results) else "NOT within the limits")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
