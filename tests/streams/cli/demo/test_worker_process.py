import socket

from streams.cli.demo.worker_process import free_port


def test_a_second_demo_worker_gets_another_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port
