"""The only reader of the environment: `CREATIVES_<GROUP>__<NAME>`, such as `CREATIVES_KAFKA__BOOTSTRAP_SERVERS`.

Secrets are `SecretStr`: they print as stars in logs, errors and `doctor`.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.briefs import Encoding, Method, Sampler, StudioPlan
from streams import addresses

Role = Literal["render", "train", "all"]
DEFAULT_WEB_PORT = 6066


class Group(BaseModel):
    """A group of settings: one middle part of the variables' names."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


Servers = Annotated[str, AfterValidator(addresses.servers)]
Endpoint = Annotated[str, AfterValidator(addresses.endpoint)]
Bucket = Annotated[str, AfterValidator(addresses.bucket)]
TopicName = Annotated[str, AfterValidator(addresses.topic)]
PemFile = Annotated[str, AfterValidator(addresses.file)]


class KafkaSettings(Group):
    """Broker, group and security. `embedded` starts a broker inside the process (demo and tests)."""

    bootstrap_servers: Servers = Field(default="embedded", description="host:port, several separated by commas")
    group: str = Field(default="creatives", description="consumer group; `-render` or `-train` is added for a role")
    instance_id: str | None = Field(default=None, description="static membership: a stable pod name")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password: SecretStr | None = None
    ca_file: PemFile | None = Field(default=None, description="PEM of the authority to trust; None: the system's")
    certificate_file: PemFile | None = Field(default=None, description="PEM of our own certificate, for mutual TLS")
    key_file: PemFile | None = Field(default=None, description="PEM of its key")
    session_timeout: float = Field(default=30.0, gt=0, description="seconds until a dead or stuck worker is replaced")
    heartbeat_interval: float = Field(default=3.0, gt=0)
    request_timeout: float = Field(default=90.0, gt=0)
    commit_interval: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _sasl_is_whole(self) -> KafkaSettings:
        if self.security_protocol.startswith("SASL") and not (self.sasl_mechanism and self.username and self.password):
            raise ValueError("SASL needs SASL_MECHANISM, USERNAME and PASSWORD")
        return self


class TopicSettings(Group):
    """Topic names, and the partitions and replicas that `creatives topics --create` gives them."""

    segment_updated: TopicName = "segment-updated"
    product_registered: TopicName = "product-registered"
    creative_ready: TopicName = "creative-ready"
    product_ready: TopicName = "product-ready"
    creative_rejected: TopicName = "creative-rejected"
    dead_suffix: str = ".dead"
    partitions: int = Field(default=4, ge=1)
    replication_factor: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _names_differ(self) -> TopicSettings:
        inputs = [self.segment_updated, self.product_registered]
        names = [*inputs, self.creative_ready, self.product_ready, self.creative_rejected]
        names += [name + self.dead_suffix for name in inputs]
        if len(set(names)) < len(names):
            raise ValueError("two topics have one name, dead letter topics included")
        return self


class StorageSettings(Group):
    """The S3 object store. `embedded` starts one inside the process (demo and tests)."""

    endpoint: Endpoint = Field(default="embedded", description="URL, http:// or https://")
    access_key: SecretStr = SecretStr("creatives")
    secret_key: SecretStr = SecretStr("creatives-secret")
    bucket: Bucket = "creatives"
    region: str = "us-east-1"
    ca_file: PemFile | None = Field(default=None, description="PEM of the authority to trust; None: the usual ones")
    public_endpoint: Endpoint | None = Field(
        default=None, description="where readers of a presigned `url` reach the store, if elsewhere than at `endpoint`"
    )
    public_base: str | None = Field(default=None, description="serve `url` from here, unsigned, instead of presigning")
    url_expiry: int = Field(default=7 * 86400, ge=1, le=7 * 86400, description="seconds a presigned `url` lives")
    timeout: float = Field(default=30.0, gt=0, description="seconds of one request")


class StudioSettings(Group):
    """Which weights, where, and how fast; see `models.briefs.StudioPlan`."""

    diffusion: str = Field(default="demo", description="`demo`, a folder, a `.safetensors` file, or hub id `@revision`")
    reranking: str = Field(default="demo", description="`demo`, `local-dir:` a folder, or an open_clip name")
    upscaling: str = Field(default="demo", description="`demo`, or an official SwinIR file")
    device: str = Field(default="auto", description="`auto`, `cpu`, `cuda`, `cuda:1`")
    dtype: str = Field(default="auto", description="`auto`: bfloat16 on CUDA, float32 elsewhere; or a torch name")
    steps: int | None = Field(default=None, ge=1, le=1000, description="inference steps; None: the family's own")
    guidance_scale: float | None = Field(default=None, ge=0, le=50, description="None: the family's own")
    size: int | None = Field(
        default=None, ge=64, le=4096, description="pixels before enlarging; None: the family's own"
    )
    sampler: Sampler | None = Field(default=None, description="None: DPM-Solver++, or the few-step one a folder names")
    bucket: int = Field(default=8, ge=1, le=256, description="candidates denoised in one call")
    tile: int = Field(default=512, ge=0, description="pixels above which enlarging works in tiles; 0: never")
    tile_overlap: int = Field(default=32, ge=0)
    encoding: Encoding = "png"
    quality: int = Field(default=95, ge=1, le=100, description="of jpeg and webp")
    threads: int | None = Field(default=None, ge=1, description="of the device process on a CPU; None: torch's choice")
    compile: bool = Field(default=False, description="torch.compile")
    dino: str | None = Field(
        default=None, description="a DINO folder, for a second figure of subject fidelity; None: CLIP's alone"
    )
    concepts: int = Field(default=4, ge=1, description="learned products kept on the device; each may weigh a UNet")
    candidates: int = Field(default=8, ge=1, le=64, description="made per format when the event does not say")
    images: int = Field(default=2, ge=1, le=16, description="kept per format when the event does not say")
    negative_prompt: str | None = Field(default=None, description="None: the family's own")

    def plan(self) -> StudioPlan:
        """Return what the device process needs of this, as plain values."""
        return StudioPlan(**self.model_dump(exclude={"candidates", "images", "negative_prompt"}))


class DeviceSettings(Group):
    """Deadlines and batching of the device process."""

    linger: float = Field(default=0.02, ge=0, description="seconds to wait for more briefs before a batch starts")
    batch: int = Field(default=4, ge=1, description="briefs of one batch at most")
    start_deadline: float = Field(default=600.0, gt=0, description="seconds to load the models")
    deadline: float = Field(default=300.0, gt=0, description="seconds without a sign of progress before a kill")
    max_crashes: int = Field(
        default=3, ge=1, description="times a job may kill or hang the device process before it is buried"
    )


class DeliverySettings(Group):
    """Window, retries and burying."""

    window: int = Field(default=64, ge=1, description="unacknowledged events per partition")
    concurrency: int = Field(default=16, ge=1, description="events of one topic worked on at once")
    attempts: int = Field(default=4, ge=1, description="attempts at an event whose failure is not an outage")
    backoff: float = Field(default=0.5, gt=0, description="seconds before the first retry; doubles, with jitter")
    backoff_cap: float = Field(default=30.0, gt=0)
    max_event_bytes: int = Field(default=256 * 1024, ge=1024)
    dead_letter_limit: int = Field(
        default=100, ge=1, description="dead letters within `bury_window` that stop the worker"
    )
    dead_letter_window: float = Field(default=60.0, gt=0)
    drain: float = Field(default=25.0, ge=0, description="seconds to finish running work at SIGTERM")
    stall: float = Field(default=60.0, gt=0, description="seconds without a main-loop tick before the worker exits")
    regeneration: int = Field(default=0, ge=0, description="another number makes new request ids: fresh pictures")


class MethodSettings(Group):
    """What all methods have; None everywhere: the family's own, else the method's paper's."""

    steps: int | None = Field(default=None, ge=1, le=100_000, description="an event that says its own wins")
    learning_rate: float | None = Field(default=None, gt=0)
    batch: int | None = Field(default=None, ge=1, le=64, description="photos per step")
    snr_gamma: float | None = Field(default=None, ge=0, description="min-SNR loss weighting; 0: off")
    early_stopping: bool | None = Field(default=None, description="stop when the deterministic loss has settled")


class DreamBoothSettings(MethodSettings):
    """DreamBooth, all weights of the UNet."""

    prior_loss_weight: float | None = Field(default=None, ge=0, description="0: without class images")
    class_images: int | None = Field(default=None, ge=1, le=10_000, description="made for a class noun")
    train_text_encoder: bool | None = None


class DreamBoothLoraSettings(MethodSettings):
    """DreamBooth on low-rank adapters."""

    rank: int | None = Field(default=None, ge=1, le=1024)
    prior_loss_weight: float | None = Field(default=None, ge=0, description="0: without class images")
    class_images: int | None = Field(default=None, ge=1, le=10_000, description="made for a class noun")


class TextualInversionSettings(MethodSettings):
    """Textual Inversion."""

    vectors: int | None = Field(default=None, ge=1, le=32, description="of one placeholder token")


class TrainingSettings(Group):
    """Learning products. A concept beyond a threshold (None: never) is refused with its figures."""

    allowed_hosts: tuple[str, ...] = Field(default=(), description="JSON list of hosts for `https://` photos")
    max_photo_bytes: int = Field(default=20 * 2**20, ge=1)
    photo_timeout: float = Field(default=600.0, ge=0, description="seconds to wait for a host of photos that is away")
    concurrency: int = Field(default=2, ge=1, description="products at once: one is learned, one is being fetched")
    checkpoint_every: int = Field(default=100, ge=1, description="checkpoints at multiples of so many steps")
    checkpoint_seconds: float = Field(default=60.0, ge=0, description="and no more often than this")
    min_fidelity: float | None = Field(default=None, description="CLIP-I")
    min_fidelity_dino: float | None = Field(default=None, description="needs CREATIVES_STUDIO__DINO")
    min_prompt: float | None = Field(default=None, description="CLIP-T")
    max_prior: float | None = Field(default=None, description="PRES")
    min_diversity: float | None = Field(default=None, description="DIV")
    workdir: str | None = Field(default=None, description="local scratch folder; None: a temporary one")
    dreambooth: DreamBoothSettings = DreamBoothSettings()
    dreambooth_lora: DreamBoothLoraSettings = DreamBoothLoraSettings()
    textual_inversion: TextualInversionSettings = TextualInversionSettings()

    def method_settings(self, method: Method) -> MethodSettings:
        """Return the method's own group."""
        group: MethodSettings = getattr(self, method)
        return group

    def decisive(self, method: Method) -> str:
        """Return, as text, everything of this that decides a product's result or verdict: other text, other request."""
        fields = self.model_dump(include=_DECISIVE, exclude_none=True)
        return json.dumps(fields | {method: self.method_settings(method).model_dump(exclude_none=True)}, sort_keys=True)


_THRESHOLDS = {"min_fidelity", "min_fidelity_dino", "min_prompt", "max_prior", "min_diversity"}
_DECISIVE = {"allowed_hosts", "max_photo_bytes"} | _THRESHOLDS


class WebSettings(Group):
    """Health, metrics and gallery. A taken default port moves to a free one; a port set by hand does not."""

    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65535, description="None: 6066, or a free one where it is taken")
    gallery: bool = True


class LogSettings(Group):
    """Logging."""

    level: Literal["debug", "info", "warn", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="CREATIVES_",
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # a mistyped variable may hold a password
        nested_model_default_partial_update=True,
    )

    role: Role = "all"
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    storage: StorageSettings = StorageSettings()
    studio: StudioSettings = StudioSettings()
    device: DeviceSettings = DeviceSettings()
    delivery: DeliverySettings = DeliverySettings()
    training: TrainingSettings = TrainingSettings()
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _dino_is_there(self) -> Settings:
        if self.training.min_fidelity_dino is not None and self.studio.dino is None:
            raise ValueError("CREATIVES_TRAINING__MIN_FIDELITY_DINO needs CREATIVES_STUDIO__DINO")
        return self
