"""The claims of docs/products.md about a product, checked against the scores of its training jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

MIN_GAIN = 0.05  # CLIP-I: the fidelity of every seed must exceed the base model's by at least this much
Scores = Mapping[str, float]


@dataclass(frozen=True)
class Claim:
    """A claim about a product, the figures behind it, and whether it holds."""

    product: str
    text: str
    figures: str
    holds: bool

    def __str__(self) -> str:
        return f"{self.verdict}: {self.product}: {self.text}: {self.figures}"

    @property
    def verdict(self) -> str:
        """`holds` or `does not hold`."""
        return "holds" if self.holds else "does not hold"


def check_claims(product: str, variants: Mapping[str, Sequence[Scores]], base: Scores) -> list[Claim]:
    """Return the claims about the measured variants.

    variants: the scores of each variant's seeds, in order. base: the base model's scores.
    """
    inversion, dreambooth = variants.get("Textual Inversion", ()), variants.get("DreamBooth", ())
    no_prior = variants.get("DreamBooth, no prior", ())
    claims = []
    if inversion and dreambooth:
        text = "DreamBooth resembles the product more than Textual Inversion (fidelity)"
        claims.append(_compare_means(product, text, "fidelity", dreambooth, inversion))
    for name, trained in (("Textual Inversion", inversion), ("DreamBooth", dreambooth)):
        if trained:
            claims.append(_compare_with_base(product, name, trained, base))
    if dreambooth and no_prior:
        text = "with prior preservation, other members of the class resemble the product less (PRES)"
        claims.append(_compare_means(product, text, "prior", no_prior, dreambooth))
        text = "with prior preservation, other members of the class differ more from each other (DIV of the class)"
        claims.append(_compare_means(product, text, "prior_diversity", dreambooth, no_prior))
        text = "with prior preservation, pictures of the product differ more from each other (DIV)"
        claims.append(_compare_means(product, text, "diversity", dreambooth, no_prior))
    return claims


def _compare_means(product: str, text: str, score: str, higher: Sequence[Scores], lower: Sequence[Scores]) -> Claim:
    """Claim that the mean over the seeds of `higher` is above that of `lower`."""
    first, second = (mean(run[score] for run in runs) for runs in (higher, lower))
    seeds = sum(one[score] > other[score] for one, other in zip(higher, lower, strict=True))
    figures = f"mean {first:.3f} > {second:.3f}; above in {seeds} of {len(higher)} seeds"
    if first <= second:
        figures = f"mean {first:.3f}, not above {second:.3f}; above in {seeds} of {len(higher)} seeds"
    return Claim(product, text, figures, first > second)


def _compare_with_base(product: str, name: str, trained: Sequence[Scores], base: Scores) -> Claim:
    """Claim that the worst seed exceeds the base model by MIN_GAIN."""
    worst, before = min(run["fidelity"] for run in trained), base["fidelity"]
    figures = f"{worst:.3f} in the worst of {len(trained)} seeds, base model {before:.3f}, {worst - before:+.3f}"
    text = f"{name} clearly exceeds the base model (fidelity, by at least {MIN_GAIN})"
    return Claim(product, text, figures, worst - before >= MIN_GAIN)
