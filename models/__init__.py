"""What happens on the device: diffusion, reranking, upscaling, fine-tuning. Networks, not tables."""

import os

# Read by OpenMP when torch loads it, so it is said here, before that. By default OpenMP's threads spin while they wait
# for each other; where cores are shared or limited by a quota, each spins through the other's time slice: ten steps of
# the demo took over 200 s beside five busy processes, and 10 s with threads that sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
