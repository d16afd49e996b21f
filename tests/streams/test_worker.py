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
