"""Everything that runs on the device: diffusion, reranking, upscaling, fine-tuning."""

import os

# OpenMP reads this when torch loads it, so it must be set before torch is imported. By default OpenMP's threads spin
# while they wait for each other. If processes share cores, or a quota limits them, each thread spins through the time
# slice of another: ten steps of the demo family took over 200 s beside five busy processes, and 10 s if threads sleep.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
