import os
import subprocess
import sys

LIGHT = """
import sys
import streams.worker
heavy = {"torch", "diffusers", "transformers", "open_clip", "basicsr", "numpy"} & set(sys.modules)
print(sorted(heavy))
"""


def test_the_worker_process_imports_no_torch():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CREATIVES_")}
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False, env=environment)
    assert done.stderr == ""
    assert done.stdout.strip() == "[]"
