"""`python -m streams.cli` runs `creatives`. Child processes use it because they cannot rely on the PATH."""

from streams.cli.main import main

main()
