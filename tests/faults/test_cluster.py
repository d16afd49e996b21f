"""The servers that scripts/services and the fault scenarios start."""

from tests.faults import cluster
from tests.faults.cluster import Cluster


def test_kafkas_tool_never_takes_a_cluster_id_for_an_option(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(cluster, "kafka_jars", lambda: tmp_path)
    monkeypatch.setattr(cluster, "_run", commands.append)
    for number in range(300):  # one id in 64 begins with a dash
        Cluster(tmp_path / str(number), ((1, 2),), 3, ())._format(1)
    options = [[part for part in argv if part.startswith("-")] for argv in commands]
    assert {tuple(part.partition("=")[0] for part in found) for found in options} == {("-cp", "--cluster-id", "-c")}
    assert any(found[1].startswith("--cluster-id=-") for found in options)
