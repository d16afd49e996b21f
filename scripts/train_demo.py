"""Train the demo family: `python scripts/train_demo.py STAGE...`. scripts/demo_family/command.py lists the stages."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.demo_family.command import main

if __name__ == "__main__":
    main()
