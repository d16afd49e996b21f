#!/usr/bin/env python3
"""Pin the images of Dockerfile and docker-compose.yml by digest: `name:tag` becomes `name:tag@sha256:...`.

    scripts/pin_images.py            ask each image's registry for the digest of its tag, and write it into the files
    scripts/pin_images.py --check    list the images that have no digest; exit with code 1 if there are any

Run it again to move to the newest build of a tag. Needs a network; images of this project itself are left alone.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = ("Dockerfile", "docker-compose.yml")
OWN = "fluence-creatives"
_IMAGE = re.compile(
    r"^(?P<before>FROM |\s+image: )(?P<name>[\w./:-]*?):(?P<tag>[\w.-]+)(@(?P<digest>sha256:[0-9a-f]{64}))?(?=\s|$)",
    re.MULTILINE,
)
_MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "docker.distribution.manifest.list.v2",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.v2",
    )
)
_SECONDS = 30.0


@dataclass(frozen=True)
class Image:
    """An image as a file names it. digest: None if it has none."""

    name: str
    tag: str
    digest: str | None

    @property
    def address(self) -> tuple[str, str]:
        """The registry's host and the repository in it. A name without a host is one of Docker Hub."""
        host, _, rest = self.name.partition("/")
        if rest and ("." in host or ":" in host):
            return host, rest
        return "registry-1.docker.io", self.name if rest else f"library/{self.name}"


def images(text: str) -> list[Image]:
    """Return the foreign images that a file names."""
    found = (Image(match["name"], match["tag"], match["digest"]) for match in _IMAGE.finditer(text))
    return [image for image in found if image.name != OWN]


def pin(text: str, resolve: Callable[[Image], str]) -> str:
    """Return the text with the digest that `resolve` returns for each image."""

    def replacement(match: re.Match[str]) -> str:
        image = Image(match["name"], match["tag"], match["digest"])
        digest = "" if image.name == OWN else f"@{resolve(image)}"
        return f"{match['before']}{image.name}:{image.tag}{digest}"

    return _IMAGE.sub(replacement, text)


def registry_digest(image: Image, scheme: str = "https") -> str:
    """Ask the registry for the digest of a tag. Raises OSError."""
    host, repository = image.address
    url = f"{scheme}://{host}/v2/{repository}/manifests/{image.tag}"
    try:
        answer = _head(url)
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        answer = _head(url, _token(error.headers.get("WWW-Authenticate", "")))
    digest = answer or ""
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise OSError(f"{host} gives no digest for {image.name}:{image.tag}")
    return digest


def _head(url: str, token: str | None = None) -> str | None:
    headers = {"Accept": _MANIFESTS} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, headers=headers, method="HEAD")  # noqa: S310 - https, or a test
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
        digest: str | None = answer.headers.get("Docker-Content-Digest")
        return digest


def _token(challenge: str) -> str:
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    query = urllib.parse.urlencode({name: fields[name] for name in ("service", "scope") if name in fields})
    with urllib.request.urlopen(f"{fields['realm']}?{query}", timeout=_SECONDS) as answer:  # noqa: S310
        content = json.load(answer)
    return str(content.get("token") or content.get("access_token"))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args()
    texts = {name: (ROOT / name).read_text() for name in FILES}
    if options.check:
        unpinned = {
            f"{image.name}:{image.tag}" for text in texts.values() for image in images(text) if not image.digest
        }
        print("\n".join(sorted(unpinned)) or "every image has a digest")
        return 1 if unpinned else 0
    try:
        pinned = {name: pin(text, registry_digest) for name, text in texts.items()}
    except (OSError, KeyError, ValueError) as error:
        print(f"Nothing was changed: a registry cannot be reached or used ({error}).", file=sys.stderr)
        return 3
    for name, text in pinned.items():
        (ROOT / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
