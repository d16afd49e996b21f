"""The demo reads the stages from its worker's status page."""

import io
from dataclasses import replace

from rich.console import Console

from streams.cli.demo.collector import _show_status, _status_client
from streams.cli.demo.worker_process import WorkerProcess
from streams.cli.progress import StageBars
from streams.web.server import WebServer
from streams.web_settings import WebSettings
from tests.streams.web.fake_view import IDLE, STATE, FakeView


async def test_the_stages_are_read_with_the_token_of_the_settings():
    view, file = FakeView(), io.StringIO()
    view.current = replace(STATE, device_process=replace(IDLE, stages={"upscale": (1, 2)}))
    server = WebServer(view, WebSettings(port=0, gallery=False, token="secret"))
    url = await server.start()
    with StageBars(Console(file=file)) as bars:
        async with _status_client(WorkerProcess(None, url, "", {})) as pages:
            await _show_status(pages, bars)
        assert file.getvalue() == "loading the models\n"
        async with _status_client(WorkerProcess(None, url, "", {"Authorization": "Bearer secret"})) as pages:
            await _show_status(pages, bars)
    await server.stop()
    assert file.getvalue().splitlines()[1:] == ["enlarging with SwinIR"]
