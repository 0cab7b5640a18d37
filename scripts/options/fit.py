"""The flags of `faces fit`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from faces.errors import require
from recognizer.quality import Gates
from scripts.options.command_line import arg
from scripts.options.recognizer import EmbedderOptions, GalleryOptions

DETAILS = ("learning_rate", "epochs", "patience", "batch_size", "held_out", "seed")


@dataclass(frozen=True)
class Options:
    """Whom to learn, from what, and how."""

    from_folders: Annotated[Path | None, arg("the gallery's own samples", metavar="DIR")] = None
    """Learn from this folder, which has a folder of photos per person. Who is not enrolled yet is
    enrolled with these photos. They must be as good as for `faces enroll`."""
    largest: bool = False
    """Of several faces on a photo of --from-folders take the largest instead of refusing it."""
    strangers: Annotated[Path | None, arg("drawn, nothing is needed", metavar="DIR")] = None
    """Photos of people who must stay unknown, one face each. Left out, they are drawn from
    the known spread of embeddings."""
    depth: Literal["head", "last-block", "full"] = "head"
    """What learns: the head alone; or also the last block of the network, or all of it. The last
    two make a new embedder, and need the pictures that `faces enroll --keep-crops` stores."""
    network: Literal["mini"] = "mini"
    """The network that --from-scratch trains."""
    from_scratch: bool = False
    """Train a network from nothing on the people of --from-folders. It knows no other faces: for
    thousands of photos and a closed circle."""
    phases: Literal[1, 2] = 1
    """2: first with hardly varied photos, then with strongly varied ones and half the learning
    rate. 1: strongly varied ones at once."""
    copies: int = 6
    """Varied copies of each photo whose picture is at hand, for the head."""
    masks: bool = True
    """Let half of the copies wear masks, so that masked people are known."""
    learning_rate: Annotated[float | None, arg("1e-3; 5e-4 to fine-tune")] = None
    """Adam's."""
    epochs: Annotated[int | None, arg("60 for the head, 30 for a network")] = None
    """At most, of each phase."""
    patience: Annotated[int | None, arg("8 for the head, 5 for a network")] = None
    """Epochs without a better held-out loss after which it stops."""
    batch_size: Annotated[int | None, arg("256 vectors, 64 faces", aliases=["-b"])] = None
    """Samples in a step."""
    held_out: Annotated[float | None, arg("0.2")] = None
    """Share of the photos of everybody with five or more that is never learned from."""
    seed: Annotated[int | None, arg("0")] = None
    """Of everything that is drawn."""
    run: Annotated[Path | None, arg("runs/head, or runs/DEPTH", metavar="DIR")] = None
    """Folder for history.jsonl, loss.png, crops of --from-folders, and a network's checkpoints."""
    resume: Annotated[Path | None, arg("none", metavar="DIR")] = None
    """Go on with the network in this run folder, with the same flags as before."""
    boxes: Literal["detect", "center", "centre"] = "detect"
    """Where the face is on the photos: found, or `center` for images in the layout of LFW's."""
    detector: Annotated[Path | None, arg("shipped", metavar="FILE")] = None
    """What finds faces on photos."""
    store: GalleryOptions = field(default_factory=GalleryOptions)
    embedding: EmbedderOptions = field(default_factory=EmbedderOptions)
    gates: Gates = field(default_factory=Gates)
    threads: Annotated[int | None, arg("left to the runtimes")] = None
    """CPU threads of the detector and of a network that learns."""
    quiet: bool = False
    """Warnings only, and no progress bar."""

    def __post_init__(self) -> None:
        rules = [
            (
                not self.from_scratch or self.from_folders is not None,
                "--from-scratch needs --from-folders DIR with a folder of photos per person",
            ),
            (
                self.depth == "head" or not self.from_scratch,
                "--from-scratch trains all of a new network: leave out --depth",
            ),
            (
                self.learns_network or self.resume is None,
                "--resume goes on with a network: give --depth or --from-scratch as before. A head "
                "takes seconds and starts from the beginning",
            ),
            (
                self.resume is None or self.run is None,
                "--resume names the run folder, leave out --run",
            ),
            (
                self.from_folders is not None or (not self.largest and self.gates == Gates()),
                "--largest and the limits of photos (--min-size and so on) are for those of "
                "--from-folders DIR; `faces enroll` has them for others",
            ),
            (self.copies >= 0, "--copies must not be negative"),
            (self.threads is None or self.threads >= 1, "--threads must be at least 1"),
        ]
        require(rules)

    @property
    def learns_network(self) -> bool:
        """Whether more than the head learns."""
        return self.depth != "head" or self.from_scratch

    @property
    def folder(self) -> Path:
        """Of the run."""
        name = "scratch" if self.from_scratch else self.depth
        return self.resume or self.run or Path("runs") / name

    @property
    def details(self) -> dict[str, Any]:
        """The training flags that were given."""
        values = {name: getattr(self, name) for name in DETAILS}
        return {name: value for name, value in values.items() if value is not None}
