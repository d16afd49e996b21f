import os
import subprocess
import sys

LIGHT = """
import sys
import streams.worker
heavy = {"torch", "diffusers", "transformers", "open_clip", "basicsr", "numpy"} & set(sys.modules)
print(sorted(heavy))
"""


def test_a_mistyped_variable_does_not_show_its_secret():
    secret = "hunter2-secret"
    for name in ("CREATIVES_KAFKA__PASSWROD", "CREATIVES_STORAGE__SECRET_KEI", "CREATIVES_KAFKA"):
        environment = {**os.environ, "CREATIVES_KAFKA__PASSWORD": secret, name: secret}
        done = subprocess.run(
            [sys.executable, "-c", "import streams.worker"],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode != 0
        assert secret not in done.stderr + done.stdout, name


def test_the_worker_process_imports_no_torch():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CREATIVES_")}
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False, env=environment)
    assert done.stderr == ""
    assert done.stdout.strip() == "[]"


AFTER_LOADING = """
import asyncio, pathlib, re, sys
import streams.app
from models.briefs import StudioPlan
from streams.device.client import DeviceClient
from streams.settings import DeviceSettings
async def main():
    device = DeviceClient(StudioPlan(), DeviceSettings())
    await device.start()
    print(type(device.ready.recipe.settings["torch"]).__name__, "torch" in sys.modules)
    print(re.search(r"VmRSS:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
    await device.stop()
asyncio.run(main())
"""


def test_neither_does_it_once_its_device_process_is_ready():
    """The recipe holds torch's version. The memory is 89 MiB; it was 600 MiB with torch."""
    done = subprocess.run([sys.executable, "-c", AFTER_LOADING], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    found, memory = done.stdout.splitlines()
    assert found == "str False"
    assert int(memory) < 200 * 1024
