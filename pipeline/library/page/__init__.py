"""A library behind a page: lists in pages, pictures, decisions."""

from typing import Literal

Act = Literal["name", "same", "not", "ignore", "not_a_face"]
"""What can be decided; see `pipeline.library.decide`."""

Kind = Literal["named", "unnamed", "once", "ignored"]
"""The lists: those with a name, without one, met once only, and whom nobody wants to see."""
