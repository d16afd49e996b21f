"""How many inflected forms of everyday Polish nouns does the word table translate? `python -m benchmarks.polish_words`

The nouns are those of `scripts/lexicon/polish.tsv` among the 11,500 most frequent Polish words (wordfreq). They were
chosen by hand, and the table was written for them. So the figure does not say how much of an unknown text is
translated: it says whether the inflected forms that people write lead to the nouns. A form counts if wordfreq lists it,
and if simplemma or the noun's case endings tie it to the noun. Needs the development packages.
"""

from __future__ import annotations

from collections import defaultdict

import simplemma
import wordfreq

from scripts.lexicon import polish_cases
from scripts.lexicon.tables import polish_terms
from streams.segments.lexicon import foreign

MOST_FREQUENT = 11_500


def nouns() -> list[str]:
    """Return the chosen nouns among the most frequent words."""
    frequent = set(wordfreq.top_n_list("pl", MOST_FREQUENT))
    written = {form for word in frequent for form in (word, simplemma.lemmatize(word, lang="pl"))}
    return sorted(term for term in polish_terms() if " " not in term and term in written)


def forms(chosen: list[str]) -> dict[str, set[str]]:
    """Return the inflected forms of each noun that wordfreq lists, the noun included."""
    found: dict[str, set[str]] = defaultdict(set)
    wanted = {simplemma.lemmatize(noun, lang="pl").lower(): noun for noun in chosen}
    for word in wordfreq.top_n_list("pl", 200_000):
        if wordfreq.zipf_frequency(word, "pl") >= polish_cases.RARE:
            noun = wanted.get(simplemma.lemmatize(word, lang="pl").lower())
            if noun is not None:
                found[noun].add(word)
    return {noun: {noun, *found[noun], *polish_cases.forms(noun)} for noun in chosen}


def main() -> None:
    """Print the shares of nouns and forms that are translated, and what is missing."""
    table = foreign.table("pl")
    by_noun = forms(nouns())
    missing = {noun: [form for form in all_forms if table.term([form]) is None] for noun, all_forms in by_noun.items()}
    total = sum(map(len, by_noun.values()))
    failed = sum(map(len, missing.values()))
    whole = sum(not left for left in missing.values())
    print(f"{len(by_noun)} nouns; {sum(noun not in left for noun, left in missing.items())} translated as they are")
    print(f"{whole} ({whole / len(by_noun):.1%}) translated in every form that wordfreq lists")
    print(f"{total} forms; {total - failed} ({1 - failed / total:.2%}) translated")
    print("missing:", ", ".join(sorted(form for left in missing.values() for form in left)[:40]))


if __name__ == "__main__":
    main()
