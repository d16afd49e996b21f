"""`python -m streams.cli` is `creatives`: for child processes, which cannot rely on the PATH."""

from streams.cli.main import main

main()
