"""The settings of the worker's web pages."""

from __future__ import annotations

from pydantic import Field, SecretStr

from streams.setting_types import Group

DEFAULT_WEB_PORT = 6066
DEFAULT_GALLERY_PORT = 6067


class WebSettings(Group):
    """Health, metrics and status pages at one address, the gallery at another."""

    host: str = Field(default="127.0.0.1", description="address of the health, metrics and status pages")
    port: int | None = Field(
        default=None, ge=0, le=65535, description="unset: 6066, or a free port if 6066 is taken; 0: any free port"
    )
    gallery: bool = Field(default=True, description="serve the gallery")
    gallery_host: str = Field(
        default="127.0.0.1", description="address of the gallery; set TOKEN too unless it is loopback"
    )
    gallery_port: int | None = Field(
        default=None, ge=0, le=65535, description="unset: 6067, or a free port if 6067 is taken; 0: any free port"
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="host names by which readers reach the pages, as a JSON list; addresses and localhost always work",
    )
    token: SecretStr | None = Field(
        default=None, min_length=1, description="required by all pages but the two probes; unset: they need no login"
    )
