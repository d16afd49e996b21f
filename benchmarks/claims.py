"""What docs/products.md claims of a product, held against the scores of its lessons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

CLEARLY = 0.05  # CLIP-I: so much every seed's fidelity must be above the untaught model's
Scores = Mapping[str, float]


@dataclass(frozen=True)
class Claim:
    """A claim about a product and the figures that decide it."""

    product: str
    text: str
    figures: str
    held: bool

    def __str__(self) -> str:
        return f"{'held' if self.held else 'not held'}: {self.product}: {self.text}: {self.figures}"


def claims(product: str, ways: Mapping[str, Sequence[Scores]], untaught: Scores) -> list[Claim]:
    """Return the claims about the ways that were measured. ways: the scores of each way's seeds, in order."""
    inversion, dreambooth = ways.get("Textual Inversion", ()), ways.get("DreamBooth", ())
    alone = ways.get("DreamBooth, no prior", ())
    found = []
    if inversion and dreambooth:
        text = "DreamBooth is nearer to the product than Textual Inversion (fidelity)"
        found.append(_higher(product, text, "fidelity", dreambooth, inversion))
    for name, taught in (("Textual Inversion", inversion), ("DreamBooth", dreambooth)):
        if taught:
            found.append(_clearly(product, name, taught, untaught))
    if dreambooth and alone:
        text = "with prior preservation other members of the class resemble the product less (PRES)"
        found.append(_higher(product, text, "prior", alone, dreambooth))
        text = "with prior preservation other members of the class differ more among themselves (DIV of the class)"
        found.append(_higher(product, text, "prior_diversity", dreambooth, alone))
        text = "with prior preservation pictures of the product differ more among themselves (DIV)"
        found.append(_higher(product, text, "diversity", dreambooth, alone))
    return found


def _higher(product: str, text: str, score: str, more: Sequence[Scores], less: Sequence[Scores]) -> Claim:
    """Compare means over the seeds."""
    first, second = (mean(run[score] for run in runs) for runs in (more, less))
    seeds = sum(one[score] > other[score] for one, other in zip(more, less, strict=True))
    figures = f"mean {first:.3f} > {second:.3f}, so in {seeds} of {len(more)} seeds"
    if first <= second:
        figures = f"mean {first:.3f}, not above {second:.3f}; above in {seeds} of {len(more)} seeds"
    return Claim(product, text, figures, first > second)


def _clearly(product: str, name: str, taught: Sequence[Scores], untaught: Scores) -> Claim:
    """Compare the worst seed with the untaught model."""
    worst, before = min(run["fidelity"] for run in taught), untaught["fidelity"]
    figures = f"{worst:.3f} in the worst of {len(taught)} seeds, untaught {before:.3f}, {worst - before:+.3f}"
    text = f"{name} beats the untaught model clearly (fidelity, by {CLEARLY} at least)"
    return Claim(product, text, figures, worst - before >= CLEARLY)
