"""Selection: ranks of candidates, by plain numbers."""

from models.briefs import Candidate
from models.rendering.selection import kept_candidates, rank_candidates


def candidates(*scores):
    return [Candidate("square", index, 100 + index, {"clip": score}) for index, score in enumerate(scores)]


def ranks(*scores, **options):
    return [candidate.rank for candidate in rank_candidates(candidates(*scores), **options)]


def test_the_highest_scores_get_the_ranks_and_the_order_stays():
    ranked = rank_candidates(candidates(0.1, 0.5, 0.3), keep=2)
    assert [(candidate.index, candidate.rank) for candidate in ranked] == [(0, None), (1, 1), (2, 2)]
    assert [(candidate.seed, candidate.scores) for candidate in ranked] == [
        (100, {"clip": 0.1}),
        (101, {"clip": 0.5}),
        (102, {"clip": 0.3}),
    ]


def test_of_equal_scores_the_lower_index_comes_first():
    assert ranks(0.1, 0.5, 0.5, 0.4, keep=3) == [None, 1, 2, 3]
    assert ranks(0.5, 0.5, 0.5, keep=1) == [1, None, None]


def test_keeping_more_than_there_are_ranks_all():
    assert ranks(0.1, 0.2, keep=9) == [2, 1]
    assert ranks(keep=3) == []


def test_other_scores_do_not_decide():
    liked = [
        Candidate("square", 0, 1, {"clip": 0.1, "looks": 9.0}),
        Candidate("square", 1, 2, {"clip": 0.2, "looks": 0.0}),
    ]
    assert [candidate.rank for candidate in rank_candidates(liked, 1)] == [None, 1]


def test_kept_candidates_come_best_first():
    ranked = rank_candidates(candidates(0.1, 0.5, 0.3, 0.4), keep=3)
    assert [(kept.index, kept.rank) for kept in kept_candidates(ranked)] == [(1, 1), (3, 2), (2, 3)]
