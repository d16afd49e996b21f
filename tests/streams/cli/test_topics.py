def test_correct_topics(run, settings):
    shown = run("topics", "--create")
    assert shown.exit_code == 0, shown.output
    assert settings.topics.creative_ready in shown.stdout


def test_topics_with_other_partitions_work_and_are_shown(run):
    shown = run("topics", CREATIVES_TOPICS__PARTITIONS="7")
    assert shown.exit_code == 0, shown.output
    assert "4 │ ok (new topics get 7)" in " ".join(shown.stdout.split())
