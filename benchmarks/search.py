"""How long it takes to find the nearest of many people, and how often it is the right one.

    python benchmarks/search.py
    python benchmarks/search.py --people 10000000 --threads 2
    python benchmarks/search.py --people 1000000 --random 512

People are made as real ones are spread: unit vectors drawn from the normal distribution that was
measured for the shipped embedder on people (recognizer/weights/strangers.npz: a mean, 64
directions, the rest). Two of them have the cosine 0.03 +- 0.12, as two people of LFW have (4,554
photos; effective dimension 67 of 128). A query is a photo of one of them, whose cosine with the
mean of that person's other photos is drawn from what LFW has (1,323 photos, `OWN`), or of nobody.
With ``--random D`` both are random unit vectors, the hardest case, and photos have the cosine 0.5.

Right is who exact search finds. Vectors are made block by block and not kept, so the memory is that
of the index. Exit code 0: every size keeps to the limits, for photos of known people; strangers are
shown and do not count, as whoever is nearest to them is too far away to be named.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import psutil
from numpy.typing import NDArray

RECALL = 0.98
BLOCK = 100_000
OWN = {
    0: 0.11, 1: 0.271, 5: 0.413, 10: 0.473, 25: 0.577, 50: 0.671, 75: 0.751, 90: 0.811, 95: 0.841,
    99: 0.9, 100: 0.95,
}  # fmt: skip
"""Percentiles of the cosine of a photo with the mean of the person's other photos: LFW, the shipped
embedder."""

Draw = Callable[[int, np.random.Generator], NDArray[np.float32]]


def shipped_spread() -> Draw:
    """Draws people as the shipped embedder's vectors are spread."""
    from recognizer.embedders.load import load_embedder
    from recognizer.training.background import read_spreads

    return read_spreads(load_embedder("mini", threads=1).fingerprint)["plain"].draw


def random_spread(dimension: int) -> Draw:
    """Draws vectors in all directions alike."""

    def draw(count: int, random: np.random.Generator) -> NDArray[np.float32]:
        vectors = random.standard_normal((count, dimension), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    return draw


def people(draw: Draw, count: int) -> Iterator[NDArray[np.float32]]:
    """The same ones every time, a block at a time."""
    for number, start in enumerate(range(0, count, BLOCK)):
        yield draw(min(BLOCK, count - start), np.random.default_rng((7, number)))


def photos(
    draw: Draw, wanted: NDArray[np.float32], cosines: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Unit vectors with these cosines to the people who are wanted."""
    noise = draw(len(wanted), np.random.default_rng(2))
    noise -= (noise * wanted).sum(axis=1, keepdims=True) * wanted
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    turned = cosines[:, None] * wanted + np.sqrt(1 - cosines[:, None] ** 2) * noise
    return turned.astype(np.float32, copy=False)


def exact(draw: Draw, count: int, queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """Who is nearest, by comparing with everybody."""
    best = np.full(len(queries), -2, np.float32)
    who = np.zeros(len(queries), np.int64)
    for number, block in enumerate(people(draw, count)):
        cosines = queries @ block.T
        top = cosines.max(axis=1)
        who = np.where(top > best, number * BLOCK + cosines.argmax(axis=1), who)
        best = np.maximum(top, best)
    return who


def measure(count: int, options: argparse.Namespace) -> bool:
    """Print a line for each kind of query; whether everything was within the limits."""
    from recognizer.search import EXACT_LIMIT, SAMPLE, CompactIndex, ExactIndex

    draw = random_spread(options.random) if options.random else shipped_spread()
    random = np.random.default_rng(1)
    own = random.integers(0, count, options.queries)
    cosines = np.interp(random.uniform(0, 100, len(own)), list(OWN), list(OWN.values()))
    if options.random:
        cosines[:] = 0.5
    sample = draw(SAMPLE, np.random.default_rng(4))
    wanted = np.empty((len(own), sample.shape[1]), np.float32)
    process = psutil.Process()
    before = process.memory_info().rss
    building, index, whole = 0.0, None, []
    for number, block in enumerate(people(draw, count)):
        here = own // BLOCK == number
        wanted[here] = block[own[here] % BLOCK]
        start = time.perf_counter()
        if count <= EXACT_LIMIT:
            whole.append(block)
        else:
            index = index or CompactIndex(sample)
            index.add(block)
        building += time.perf_counter() - start
    search = ExactIndex(np.concatenate(whole)).search if index is None else index.search
    memory = (process.memory_info().rss - before) / 1e9
    fine = memory <= options.memory
    print(
        f"{count:,} people x {wanted.shape[1]}: {'exact' if index is None else 'codes'}, built in "
        f"{building:.0f} s, {memory:.2f} GB" + ("" if fine else "   <- NOT within the limits"),
        flush=True,
    )
    queries = {
        "photos": photos(draw, wanted, cosines.astype(np.float32)),
        "strangers": draw(options.queries, np.random.default_rng(3)),
    }
    truths = exact(draw, count, np.concatenate(list(queries.values()))).reshape(2, -1)
    for (kind, asked), truth in zip(queries.items(), truths, strict=True):
        times, processor, found = [], [], []
        for query in asked:
            wall, cpu = time.perf_counter(), time.process_time()
            position, _ = search(query[None])
            times.append((time.perf_counter() - wall) * 1000)
            processor.append((time.process_time() - cpu) * 1000)
            found.append(int(position[0]))
        recall = float(np.mean(found == truth))
        median, slow = np.percentile(times, [50, 95])
        good = median < options.limit and (recall >= RECALL or kind == "strangers")
        fine &= good
        print(
            f"  {kind:<9} one query: median {median:6.1f} ms, 95 % below {slow:6.1f}, "
            f"processor {np.median(processor):6.1f}; recall@1 {recall:.3f}"
            + ("" if good else "   <- NOT within the limits"),
            flush=True,
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
    parser.add_argument("--random", type=int, metavar="D", help="random vectors of D numbers")
    parser.add_argument("--queries", type=int, default=1000, help="of each kind [1000]")
    parser.add_argument("--limit", type=float, default=50.0, help="most milliseconds [50]")
    parser.add_argument("--memory", type=float, default=3.0, help="most GB of the index [3]")
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
