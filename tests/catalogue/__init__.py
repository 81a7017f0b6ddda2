"""Tables of what luxon offers: every layer with what it takes and gives, every function's arguments."""

from . import dense, images, norms, sequences, structure
from .signatures import SIGNATURES

CASES = [*dense.CASES, *images.CASES, *norms.CASES, *sequences.CASES, *structure.CASES]

__all__ = ["CASES", "SIGNATURES"]
