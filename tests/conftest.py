"""All tests are one deployment: the workers that they start share a signing key, as those of a deployment do."""

import os

SIGNING_KEY = "signs-the-objects-of-the-plain-tests"
os.environ.setdefault("CREATIVES_STORAGE__SIGNING_KEYS", SIGNING_KEY)
