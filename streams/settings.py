"""All settings of the environment: `CREATIVES_<GROUP>__<NAME>`, such as `CREATIVES_KAFKA__BOOTSTRAP_SERVERS`.

Secrets are `SecretStr`: they print as stars in logs, errors and `creatives doctor`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from models.briefs import Encoding, Sampler, StudioPlan
from streams.delivery_settings import DeliverySettings
from streams.setting_types import (
    Bucket,
    Endpoint,
    Group,
    PemFile,
    Servers,
    SigningKeys,
    TopicName,
    VariablePatterns,
)
from streams.training_settings import TrainingSettings
from streams.unknown_variables import PREFIX, environment_source
from streams.web_settings import WebSettings

Role = Literal["render", "train", "all"]
_OF_THE_WORKER = {"candidates", "images", "max_candidates", "max_images", "negative_prompt"}


class KafkaSettings(Group):
    """Broker, consumer group and security. `embedded` starts a broker inside the process (demo and tests)."""

    bootstrap_servers: Servers = Field(default="embedded", description="host:port, several separated by commas")
    embedded: bool = Field(
        default=False, description="the broker is the embedded one of another process; its env file sets this"
    )
    group: str = Field(default="creatives", description="consumer group; the roles render and train append their name")
    instance_id: str | None = Field(default=None, description="static group membership: a stable pod name")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="protocol of all connections to the broker"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="required by the SASL protocols"
    )
    username: str | None = Field(default=None, description="SASL user")
    password: SecretStr | None = Field(default=None, description="SASL password")
    ca_file: PemFile | None = Field(
        default=None, description="PEM file of the certificate authority to trust; unset: the system's authorities"
    )
    certificate_file: PemFile | None = Field(
        default=None, description="PEM file of the client certificate (mutual TLS)"
    )
    key_file: PemFile | None = Field(default=None, description="PEM file of the certificate's key")
    isolation: Literal["read_committed", "read_uncommitted"] = Field(
        default="read_committed", description="read_committed never renders events of an aborted or open transaction"
    )
    session_timeout: float = Field(
        default=30.0, gt=0, description="seconds until the group replaces a worker that died or hangs"
    )
    heartbeat_interval: float = Field(default=3.0, gt=0, description="seconds between heartbeats")
    request_timeout: float = Field(default=90.0, gt=0, description="timeout in seconds of one request to the broker")
    commit_interval: float = Field(default=1.0, gt=0, description="seconds between offset commits")

    @model_validator(mode="after")
    def _require_credentials(self) -> KafkaSettings:
        if self.security_protocol.startswith("SASL") and not (self.sasl_mechanism and self.username and self.password):
            raise ValueError("SASL needs SASL_MECHANISM, USERNAME and PASSWORD")
        return self


class TopicSettings(Group):
    """Topic names, and the partitions and replicas that `creatives topics --create` gives them."""

    segment_updated: TopicName = Field(default="segment-updated", description="input: segments")
    product_registered: TopicName = Field(default="product-registered", description="input: products")
    creative_ready: TopicName = Field(default="creative-ready", description="output: pictures of a segment")
    product_ready: TopicName = Field(default="product-ready", description="output: trained products")
    creative_rejected: TopicName = Field(default="creative-rejected", description="output: rejected requests")
    dead_suffix: str = Field(default=".dead", description="suffix of the dead-letter topic of each input topic")
    partitions: int = Field(default=4, ge=1, description="partitions of every topic")
    replication_factor: int = Field(default=1, ge=1, description="replicas of every topic")

    @model_validator(mode="after")
    def _require_distinct_names(self) -> TopicSettings:
        inputs = [self.segment_updated, self.product_registered]
        names = [*inputs, self.creative_ready, self.product_ready, self.creative_rejected]
        names += [name + self.dead_suffix for name in inputs]
        if len(set(names)) < len(names):
            raise ValueError("two topics have the same name (dead-letter topics count too)")
        return self


class StorageSettings(Group):
    """The S3 object store. `embedded` starts one inside the process (demo and tests)."""

    endpoint: Endpoint = Field(default="embedded", description="http:// or https:// URL of the store")
    access_key: SecretStr = Field(default=SecretStr("creatives"), description="access key id")
    secret_key: SecretStr = Field(default=SecretStr("creatives-secret"), description="secret access key")
    signing_keys: SigningKeys | None = Field(
        default=None,
        description="secret of the whole deployment that signs manifests, concept pointers and parked segments: random "
        "text of 32 characters or more, the same for every worker. Several, separated by commas: the first signs, all "
        "are accepted. Workers need it; an embedded store makes its own",
    )
    bucket: Bucket = Field(default="creatives", description="bucket of pictures, concepts, checkpoints and photos")
    region: str = Field(default="us-east-1", description="region that requests are signed for")
    ca_file: PemFile | None = Field(
        default=None, description="PEM file of the certificate authority to trust; unset: the system's authorities"
    )
    public_endpoint: Endpoint | None = Field(
        default=None, description="address in presigned `url`s, if readers reach the store by another one"
    )
    public_base: str | None = Field(
        default=None, description="base of `url`s that need no signature; replaces presigned `url`s"
    )
    url_expiry: int = Field(
        default=7 * 86400, ge=1, le=7 * 86400, description="seconds until a presigned `url` expires"
    )
    timeout: float = Field(default=30.0, gt=0, description="timeout in seconds of one request to the store")


class StudioSettings(Group):
    """Which weights, on which device, and how fast. `models.briefs.StudioPlan` explains each field."""

    diffusion: str = Field(
        default="demo", description="`demo`, a folder, a `.safetensors` file, or a hub id with `@revision`"
    )
    reranking: str = Field(default="demo", description="`demo`, `local-dir:` and a folder, or an open_clip name")
    upscaling: str = Field(default="demo", description="`demo`, or an official SwinIR file")
    device: str = Field(default="auto", description="`auto`, `cpu`, `cuda`, `cuda:1`")
    dtype: str = Field(default="auto", description="`auto` (bfloat16 on CUDA, float32 elsewhere), or a torch name")
    steps: int | None = Field(default=None, ge=1, le=1000, description="inference steps; unset: the family's default")
    guidance_scale: float | None = Field(default=None, ge=0, le=50, description="unset: the family's default")
    size: int | None = Field(
        default=None,
        ge=64,
        le=4096,
        description="side of a square in pixels before enlargement; unset: the family's default",
    )
    sampler: Sampler | None = Field(
        default=None, description="unset: DPM-Solver++, or the few-step sampler that a diffusers folder names"
    )
    bucket: int = Field(default=8, ge=1, le=256, description="candidates denoised in one call")
    tile: int = Field(default=512, ge=0, description="pixels above which SwinIR works in tiles; 0: never")
    tile_overlap: int = Field(default=32, ge=0, description="pixels that neighbouring tiles share")
    encoding: Encoding = Field(default="png", description="file type of the pictures")
    quality: int = Field(default=95, ge=1, le=100, description="quality of JPEG and WebP files")
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads of the device process; unset: torch's default"
    )
    compile: bool = Field(default=False, description="use torch.compile")
    dino: str | None = Field(
        default=None, description="a DINO folder, which adds a second subject fidelity score; unset: CLIP alone"
    )
    concepts: int = Field(default=4, ge=1, description="concepts kept on the device; each may be as large as the UNet")
    network: bool = Field(
        default=False, description="the device process keeps its network after it has fetched the weights"
    )
    candidates: int = Field(default=8, ge=1, le=64, description="candidates per format, unless the event sets them")
    images: int = Field(default=2, ge=1, le=16, description="pictures kept per format, unless the event sets them")
    max_candidates: int = Field(default=64, ge=1, le=64, description="maximum `candidates` of an event")
    max_images: int = Field(default=16, ge=1, le=16, description="maximum `images` of an event")
    negative_prompt: str | None = Field(default=None, description="unset: the family's default")

    def plan(self) -> StudioPlan:
        """Return the settings that the device process needs, as plain values."""
        return StudioPlan(**self.model_dump(exclude=_OF_THE_WORKER))


class DeviceSettings(Group):
    """Batching, deadlines and crashes of the device process."""

    linger: float = Field(default=0.02, ge=0, description="seconds to wait for more briefs before a batch starts")
    batch: int = Field(default=4, ge=1, description="maximum briefs in one batch")
    start_deadline: float = Field(default=600.0, gt=0, description="seconds to load the models")
    deadline: float = Field(default=300.0, gt=0, description="seconds without progress before the process is killed")
    max_crashes: int = Field(
        default=3,
        ge=1,
        description="times one job may crash or hang the process, or not fit into the memory of a fresh one, "
        "before its event is dead-lettered",
    )
    variables: VariablePatterns = Field(
        default="",
        description="more environment variables for the device process: names or patterns, separated by commas",
    )


class LogSettings(Group):
    """Logging."""

    level: Literal["debug", "info", "warn", "error"] = Field(default="info", description="lowest level that is logged")
    format: Literal["console", "json"] = Field(
        default="console", description="`console` for people, or one JSON object per line"
    )


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # a mistyped variable may hold a password
        nested_model_default_partial_update=True,
    )

    role: Role = Field(default="all", description="what the worker does: segments, products, or both")
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    storage: StorageSettings = StorageSettings()
    studio: StudioSettings = StudioSettings()
    device: DeviceSettings = DeviceSettings()
    delivery: DeliverySettings = DeliverySettings()
    training: TrainingSettings = TrainingSettings()
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read keyword arguments, then the environment. Raises UnknownSettings."""
        return init_settings, environment_source(settings_cls)

    @model_validator(mode="after")
    def _require_dino(self) -> Settings:
        if self.training.min_fidelity_dino is not None and self.studio.dino is None:
            raise ValueError("CREATIVES_TRAINING__MIN_FIDELITY_DINO needs CREATIVES_STUDIO__DINO")
        return self
