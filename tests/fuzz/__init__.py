"""Fuzzing: every reader of bytes that a stranger can send, against mutated bytes.

`python -m tests.fuzz segment-events --minutes 10` runs one target under Atheris, which looks for inputs that reach new
code. `tests/fuzz/test_targets.py` runs all targets on their seeds and on simple mutations of them.
"""
