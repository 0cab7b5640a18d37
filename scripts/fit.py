"""`faces fit`: train the classifier head, or the network itself, on the people who are enrolled."""

from __future__ import annotations

import logging
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faces.errors import UserError
from faces.text import counted
from scripts.main import run_program
from scripts.options.command_line import log_to_stderr, parse, progress
from scripts.options.fit import Options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.teaching.fit import HeadPlan
    from recognizer.embedders.embedder import FaceEmbedder
    from recognizer.embedders.mini import MiniResNet
    from recognizer.store.people import Store
    from recognizer.training.fit_network_config import NetworkOptions
    from recognizer.types import Embedder

logger = logging.getLogger(__name__)

DESCRIPTION = """Train a classifier head on the people who are enrolled: in seconds, with a class
for unknown people. With --depth the network itself learns too, and everybody is embedded again.
Until the new head is finished the old one stays; Ctrl-C keeps it."""

EXAMPLES = """\
faces fit
faces fit --from-folders family --strangers crowd
faces fit --phases 2 --run runs/second
faces fit --depth last-block --run runs/ours
faces fit --depth last-block --resume runs/ours
faces fit --network mini --from-scratch --from-folders family --gallery family.db --run runs/new"""


def main(argv: Sequence[str]) -> int:
    """Parse, teach, store, say what came of it."""
    options: Options = parse(Options, argv, "faces fit", DESCRIPTION, EXAMPLES)
    log_to_stderr(options.quiet)
    from tqdm.contrib.logging import logging_redirect_tqdm

    from recognizer.training.fit import Stopped

    with logging_redirect_tqdm():
        job = Job(options)
        try:
            job.run_network() if options.learns_network else job.run_head()
        except (Stopped, KeyboardInterrupt):
            print(job.after_stop(), file=sys.stderr)
            return 128 + (job.signals or [signal.SIGINT])[0]
    return 1 if job.sources.refused else 0


class Job:
    """One call of the command."""

    def __init__(self, options: Options) -> None:
        from pipeline.teaching.fit_data import Sources

        self.options = options
        self.moved_to: Path | None = None  # the new embedder, once the gallery belongs to it
        self.signals: list[int] = []  # that came while the network learned
        self.sources = Sources(
            options.from_folders, options.strangers, options.boxes, options.detector,
            options.folder, self._bar, options.threads, options.gates, options.largest,
        )  # fmt: skip

    def after_stop(self) -> str:
        """What to print when it was stopped: what has changed, and how to go on."""
        options = self.options
        if self.moved_to is not None:
            flags = f"--embedder {self.moved_to} --gallery {options.store.gallery}"
            if options.from_folders is not None:
                flags += f" --from-folders {options.from_folders}"
            return (
                f"faces: stopped; the people now belong to --embedder {self.moved_to} and have no "
                f"head.\nTeach them one with: faces fit {flags}"
            )
        text = "faces: stopped; the people and the old head are as before."
        if (options.folder / "last.pt").is_file():
            text += f"\nGo on with: faces fit --resume {options.folder} and the same flags"
        return text

    def run_head(self) -> None:
        """Samples -> head -> store."""
        from pipeline.teaching.fit import HeadPlan

        options = self.options
        plan = HeadPlan(options.copies, options.masks, options.phases, options.details)
        plan.options(1)  # mistakes are found before anything is embedded
        if options.from_folders is None:
            options.store.open_existing_store().close()  # says what is missing
        self._open_folder()
        embedder = options.embedding.open_embedder()
        enrolls = options.from_folders is not None
        with options.store.open_store(embedder, take_over=enrolls) as store:
            self._teach_head(store, embedder, plan, options.folder)

    def _teach_head(self, store: Store, embedder: Embedder, plan: HeadPlan, folder: Path) -> None:
        from pipeline.teaching.fit import Record, store_head, teach_head

        record = Record(folder)
        # The rule for samples means nothing to a network that learned these very faces.
        samples = self.sources.samples(store, embedder, not self.options.learns_network)
        denied = None
        if store.fingerprint == embedder.fingerprint:
            denied = store.snapshot().strangers
        head = teach_head(samples, self.sources, embedder, plan, record, denied)
        record.write()
        store_head(store, head, samples, self.sources, record)
        valid = record.best
        print(f"taught:    {counted(sum(name is not None for name in head.names), 'person')}")
        if "error" in valid:
            print(f"held out:  {1 - valid['error']:.1%} of photos get the right class")
        else:
            print("held out:  nothing; people with five photos or more would allow it")
        if "strangers_named" in valid:
            print(f"unknown:   {1 - valid['strangers_named']:.1%} of others get the unknown class")
        print(f"file:      {store.path}")
        print(f"loss plot: {folder / 'loss.png'}")

    def run_network(self) -> None:
        """Crops -> network -> a new embedder -> everybody embedded again -> head."""
        import numpy as np
        import torch

        from faces.run import stop_signals
        from pipeline.teaching.fit import HeadPlan, Record
        from recognizer.embedders.load import load_embedder
        from recognizer.training.fit_network import fit_network
        from recognizer.training.fit_network_config import LabeledCrops

        options = self.options
        setup = self._network_options()
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        network, embedder = self._network()
        if options.from_scratch and self._knows_people():
            raise UserError(
                f"{options.store.gallery} is there already, and a new network's vectors go into a "
                "file of their own: give another --gallery"
            )
        names, crops = self._faces(embedder)
        everybody: list[str | None] = [*names]
        if options.strangers is not None:
            others = self.sources.stranger_crops(embedder)
            everybody, crops = everybody + [None] * len(others), np.concatenate([crops, others])
        self._open_folder()
        record = Record(options.folder, logging.INFO)
        with stop_signals() as self.signals:
            path = fit_network(
                network, embedder.recipe, LabeledCrops(crops, tuple(everybody)), options.folder,
                setup,
                trained=not options.from_scratch, resume=options.resume is not None,
                progress=lambda line: record.add(line["phase"], line),
                stop=lambda: bool(self.signals),
            )  # fmt: skip
        new = load_embedder(path, flip=options.embedding.flip)
        if new.fingerprint == embedder.fingerprint:
            print("The held-out photos are told apart no better than before: nothing was changed.")
            return
        if options.store.exists():
            self._embed_again(new, path)
        store = replace(options.embedding, embedder=str(path), embedder_weights=None)
        with options.store.open_store(store.open_embedder()) as opened:
            plan = HeadPlan(options.copies, options.masks)
            self._teach_head(opened, new, plan, options.folder / "head")
        print(f"embedder:  {path}")
        print(f"Use it from now on: --embedder {path}; measure its thresholds: faces calibrate")

    def _knows_people(self) -> bool:
        """A run that is stopped when its network is ready leaves a file with nobody in it."""
        if not self.options.store.exists():
            return False
        with self.options.store.open_existing_store() as store:
            return bool(store.people())

    def _embed_again(self, new: Embedder, path: Path) -> None:
        """Bind the gallery to the new embedder, whose file ``path`` is; that drops the head."""
        from recognizer.store.reembed import reembed

        with self.options.store.open_existing_store() as store:
            total = sum(person.samples for person in store.people())
            with self._bar("embedding again", total, "faces") as tick:
                reembed(store, new, progress=tick)
                if total:  # a run that is stopped early leaves a file with nobody in it
                    self.moved_to = path

    def _faces(self, embedder: Embedder) -> tuple[list[str], NDArray[np.uint8]]:
        """Of the folder, or of the store's pictures, which must all be there either way."""
        from recognizer.training.head_samples import refuse_without_pictures, samples_of_store

        if self.options.store.exists() or self.options.from_folders is None:
            with self.options.store.open_existing_store() as store:
                refuse_without_pictures(store)  # before an hour of training, not after
                if self.options.from_folders is None:
                    samples = samples_of_store(store, embedder)
                    return list(samples.names), samples.crops
        return self.sources.faces(embedder)

    def _network_options(self) -> NetworkOptions:
        from recognizer.training.fit_network_config import NetworkOptions

        options = self.options
        values: dict[str, Any] = {
            "depth": "full" if options.depth == "head" else options.depth,
            "learning_rate": 1e-3 if options.from_scratch else 5e-4,
            "phases": options.phases,
            "masks": options.masks,
        }
        return NetworkOptions(**{**values, **options.details})

    def _network(self) -> tuple[MiniResNet, FaceEmbedder]:
        """The network to train, and an embedder that cuts its crops."""
        from recognizer.embedders.checkpoint import open_mini, open_torch_embedder

        if self.options.from_scratch:
            return self._untrained()
        path = self._checkpoint()
        return open_mini(path)[0], open_torch_embedder(path)

    def _untrained(self) -> tuple[MiniResNet, FaceEmbedder]:
        from recognizer.crop import CropRecipe
        from recognizer.embedders.checkpoint import TorchNetwork
        from recognizer.embedders.embedder import FaceEmbedder, landmarks_for
        from recognizer.training.fit_network import new_network

        network = new_network(seed=self.options.seed or 0)
        recipe = CropRecipe(network.config.size, 0.0, "aligned")
        landmarks = landmarks_for(recipe, self.options.threads)
        dimension = network.config.dimension
        return network, FaceEmbedder(
            TorchNetwork(network), recipe, "untrained", dimension, landmarks
        )

    def _checkpoint(self) -> Path:
        from recognizer.shipped import FOLDER, shipped_file

        name = self.options.embedding.embedder
        if name in ("auto", "mini"):
            if not (FOLDER / "mini.pt").is_file():
                raise UserError(
                    "the shipped network's checkpoint is not in this installation: give one of "
                    "`faces pretrain-embedder` with --embedder FILE"
                )
            return shipped_file("mini.pt")
        if name == "inception":
            raise UserError("only MiniResNet can learn more here: --embedder mini, or a checkpoint")
        if name.endswith(".onnx"):
            raise UserError(f"{name}: an ONNX file cannot learn; give the checkpoint it is made of")
        return Path(name)

    def _open_folder(self) -> None:
        """A network's run folder holds one run; a head's is replaced each time."""
        folder = self.options.folder
        last = folder / "last.pt"
        if self.options.resume is not None:
            if not last.is_file():
                raise UserError(f"{folder} has no last.pt: there is nothing to go on with")
        elif self.options.learns_network and last.exists():
            raise UserError(
                f"{folder} already holds a run: go on with --resume {folder}, or choose another "
                "folder with --run"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise UserError(f"the run folder {folder} cannot be made: {error}") from error
        if free < 100 * 2**20:
            raise UserError(f"the disk of {folder} has less than 100 MB free: make room")

    @contextmanager
    def _bar(self, what: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
        hidden = self.options.quiet or not total
        with progress(None, what, f" {unit}", hidden, total) as bar:
            yield bar.update


if __name__ == "__main__":
    run_program("scripts.fit")
