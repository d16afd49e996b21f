"""`python -m streams.cli` is `creatives`: for child processes, which cannot rely on the PATH."""

from streams.cli import main

main()
