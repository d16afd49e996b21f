import asyncio
import json
from pathlib import Path

import pytest

from streams.store.s3 import MinioStore

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


@pytest.mark.parametrize(("registration", "photos"), [("jar-of-jam", "jam"), ("carton-of-milk", "milk")])
def test_the_examples_find_their_photos_after_one_command(run, settings, registration, photos):
    event = json.loads((EXAMPLES / f"{registration}.json").read_text())
    files = sorted((EXAMPLES / "products" / photos).glob("*.png"))
    given = {"CREATIVES_STORAGE__ENDPOINT": settings.storage.endpoint}
    done = run("upload-photos", event["product_id"], *files, **given)
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == event["images"]

    async def stored():
        store = MinioStore(settings.storage)
        contents = [await store.get(f"photos/{event['product_id']}/{file.name}") for file in files]
        store.close()
        return contents

    assert asyncio.run(stored()) == [file.read_bytes() for file in files]


def test_what_cannot_be_uploaded_is_a_usage_error(run, settings, tmp_path):
    for name in ("a b.png", "1.png", "other/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"123")
    given = {"CREATIVES_STORAGE__ENDPOINT": settings.storage.endpoint}
    for arguments, message, more in (
        (["a/b", tmp_path / "1.png"], "use letters, digits", given),
        (["a", tmp_path / "a b.png"], "use letters, digits", given),
        (["a", tmp_path / "1.png", tmp_path / "other" / "1.png"], "two files have the same name", given),
        (["a", tmp_path / "1.png"], "larger than", given | {"CREATIVES_TRAINING__MAX_PHOTO_BYTES": "2"}),
        (["a", tmp_path / "1.png"], "No object store is set. Set CREATIVES_STORAGE__ENDPOINT", {}),
    ):
        refused = run("upload-photos", *arguments, **more)
        assert refused.exit_code == 2, refused.output
        assert message in refused.stderr
