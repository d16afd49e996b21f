"""The guard that stops a worker whose valid events fail."""

from streams.kafka.dead_letter_limit import DeadLetterLimit


def test_both_number_and_share_must_be_exceeded() -> None:
    limit = DeadLetterLimit(limit=2, share=0.5, window=10.0)
    assert [limit.admit(0.0) for _ in range(3)] == [True, True, False]
    for _ in range(3):
        limit.count_served(1.0)
    assert limit.admit(1.0), "3 of 6 failed"
    assert not limit.admit(1.0), "4 of 7 would have"


def test_a_share_of_zero_leaves_the_number_alone() -> None:
    limit = DeadLetterLimit(limit=1, share=0.0, window=10.0)
    for _ in range(1000):
        limit.count_served(0.0)
    assert [limit.admit(0.0), limit.admit(0.0)] == [True, False]


def test_what_lies_before_the_window_is_forgotten() -> None:
    limit = DeadLetterLimit(limit=2, share=0.5, window=10.0)
    assert limit.admit(0.0)
    assert limit.admit(1.0)
    assert not limit.admit(9.9)
    assert limit.admit(10.0)
    assert not limit.admit(10.5)
    assert limit.admit(11.0)


def test_a_served_event_counts_for_one_window() -> None:
    limit = DeadLetterLimit(limit=0, share=0.5, window=10.0)
    limit.count_served(0.0)
    assert limit.admit(9.9), "1 of 2 failed"
    assert not limit.admit(10.0), "2 of 2 would have"


def test_memory_holds_one_window() -> None:
    limit = DeadLetterLimit(limit=2, share=0.5, window=10.0)
    for second in range(1000):
        limit.count_served(float(second))
    assert len(limit._served.times) <= 11
