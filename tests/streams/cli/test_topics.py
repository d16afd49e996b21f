def test_correct_topics(run, settings):
    shown = run("topics", "--create")
    assert shown.exit_code == 0, shown.output
    assert settings.topics.creative_ready in shown.stdout


def test_topics_with_wrong_partitions(run):
    shown = run("topics", CREATIVES_TOPICS__PARTITIONS="7")
    assert shown.exit_code == 1
    assert "4 partitions, not 7" in " ".join(shown.stdout.split())
    assert "Set CREATIVES_TOPICS__PARTITIONS to the number that exists" in shown.stderr
