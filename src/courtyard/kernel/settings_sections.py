"""What a section of the settings is, and the sections that `settings` has no room for."""

import json
from collections.abc import Iterator
from email.errors import HeaderParseError
from email.policy import default
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

MINUTE_SECONDS = 60
DAY_SECONDS = 86_400


class Section(BaseModel):
    """A table of the configuration: unknown keys are refused, values do not change, faults quote no input."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


def split_list(value: object) -> object:
    """Let a list be written in one line of the environment: as JSON, or with commas between."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            # The text may hold keys, so the message must not quote it.
            raise ValueError("is neither a JSON list nor values with commas between") from None
    return [part.strip() for part in value.split(",") if part.strip()]


def table(value: object) -> object:
    """Let a table by names with dots be written in one line, or without quotes around the names."""
    if isinstance(value, str):
        if value.lstrip().startswith("{"):
            try:
                value = json.loads(value)
            except ValueError:
                raise ValueError("is neither a JSON object nor `name=value` with commas between") from None
        else:
            pairs = [part.partition("=") for part in value.split(",") if part.strip()]
            return {name.strip(): text.strip() for name, _, text in pairs}
    return dict(_flat(value)) if isinstance(value, dict) else value


def _flat(tree: dict[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


class EventSettings(Section):
    """The event log and what delivers from it."""

    sweep_seconds: float = Field(
        1.0, ge=0.01, le=60, description="How often delivery looks for what it was not told of."
    )
    replay_limit: int = Field(1_000, ge=1, le=100_000, description="Events replayed at most to one subscription.")
    inline_limit_bytes: int = Field(
        65_536,
        ge=0,
        le=1_048_576,
        description="Longest event that travels whole between processes; longer ones are read.",
    )


def _mailbox(value: str) -> str:
    if not (value.isprintable() and _is_one_address(value)):
        raise ValueError("must be an address such as help@example.org, or Help line <help@example.org>")
    return value


def _is_one_address(value: str) -> bool:
    # It stands in a header, so it is read as one.
    try:
        header = default.header_factory("From", value)
    except (IndexError, HeaderParseError):
        # What the parser says to `help@`.
        return False
    addresses = [address for address in header.addresses if address.username and address.domain]
    return not header.defects and len(header.addresses) == len(addresses) == 1


SenderAddress = Annotated[str, Field(max_length=320), AfterValidator(_mailbox)]


class SmtpSettings(Section):
    """The mail server that takes outgoing mail, where `mail.transport` is `smtp`."""

    host: str | None = Field(None, min_length=1, max_length=255, description="Its name.")
    port: int = Field(587, ge=1, le=65_535, description="Its port: 587 with `starttls`, 465 with `tls`.")
    username: str | None = Field(None, min_length=1, description="Name to log in with. Not set: no login.")
    password: SecretStr | None = Field(None, description="Password to log in with.")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls",
        description="TLS after a greeting, TLS from the first byte, or none. The certificate is always verified.",
    )
    timeout_seconds: float = Field(
        30,
        ge=0.1,
        le=600,
        description="Longest time for one delivery.",
    )


class WorkspaceSettings(Section):
    """Workspaces: their end, their slugs, and invitations to them."""

    deletion_grace_days: int = Field(
        14, ge=0, le=365, description="How long an owner can have a deleted workspace back."
    )
    slug_kept_days: int = Field(
        90,
        ge=0,
        le=3_650,
        description="How long a slug that was given up still leads to its workspace, and is not free.",
    )
    invitation_mails_per_day: int = Field(
        5, ge=1, le=100, description="Mails to one invited address in a day, from one workspace."
    )
    open_invitations: int = Field(
        1_000, ge=1, le=100_000, description="Invitations that a workspace can have open at once; links likewise."
    )
    services: int = Field(100, ge=0, le=10_000, description="Service accounts that a workspace can have.")
    removal_batch: int = Field(500, ge=1, le=10_000, description="Rows of a deleted workspace removed at once.")


def _broker_url(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(("amqp://", "amqps://", "redis://", "rediss://")):
        raise ValueError("must be amqp://user:password@host/vhost, amqps://, redis://host:6379/1 or rediss://")
    return value


BrokerUrl = Annotated[SecretStr, AfterValidator(_broker_url)]


class TaskSettings(Section):
    """Background work."""

    runner: Literal["embedded", "worker", "celery"] = Field(
        "embedded",
        description="What runs it: `embedded`, every server process beside its requests; `worker`, the processes of "
        "`courtyard worker`; `celery`, the same as workers of Celery.",
    )
    broker_url: BrokerUrl | None = Field(
        None, description="`amqp://user:password@host/vhost` or `redis://host:6379/1`, where `runner` is `celery`."
    )
    broker_timeout_seconds: float = Field(2, ge=0.1, le=60, description="Longest wait for the broker.")
    resend_seconds: float = Field(
        60,
        ge=0.1,
        le=86_400,
        description="How long a message to the broker may take to be begun with, before it is sent again; then "
        "longer each time.",
    )
    concurrency: int = Field(20, ge=1, le=1_000, description="Tasks at once, per process that runs them.")
    sweep_seconds: float = Field(
        1.0, ge=0.01, le=60, description="How often it is looked for what is due later, and for what was not told of."
    )
    lease_seconds: float = Field(
        30, ge=0.1, le=3_600, description="Silence of a process after which what it was doing is done by another one."
    )
    kept_days: float = Field(7, ge=0, le=3_650, description="How long what was done, or cancelled, is remembered.")
    failed_kept_days: float = Field(30, ge=0, le=3_650, description="How long what has failed can be done again.")

    @property
    def is_rabbitmq(self) -> bool:
        """Whether the broker is RabbitMQ, as opposed to Redis."""
        return self.broker_url is not None and self.broker_url.get_secret_value().startswith("amqp")


class ShardSettings(Section):
    """Databases of workspaces that have one of their own."""

    pool_size: int = Field(
        4, ge=1, le=100, description="Connections for changes to each of them, per process (PostgreSQL)."
    )
    read_pool_size: int = Field(4, ge=1, le=100, description="Connections for reads to each of them, per process.")
    open: int = Field(
        50,
        ge=1,
        le=10_000,
        description="Databases of workspaces to which a process keeps connections; those not used for longest are let "
        "go of first.",
    )
    waiting: int = Field(
        64, ge=1, le=10_000, description="Callers that wait for a connection to one of them; more are refused at once."
    )
    answer_seconds: float = Field(
        2, ge=0.1, le=60, description="Longest wait for a connection, and for the answer of one that seems to hang."
    )
    retry_seconds: float = Field(
        2, ge=0.1, le=600, description="How long one that does not answer is left alone before it is tried again."
    )


class MailSettings(Section):
    """Outgoing mail."""

    transport: Literal["outbox", "smtp"] = Field(
        "outbox", description="`outbox` writes mail into files below the data directory, `smtp` sends it."
    )
    sender: SenderAddress = Field(
        "Courtyard <courtyard@localhost>", description="Address that mail comes from, with the name of the service."
    )
    reply_to: SenderAddress | None = Field(None, description="Address that answers go to. Not set: the sender.")
    outbox_files: int = Field(1_000, ge=1, le=100_000, description="Files kept in the outbox; the oldest go first.")
    give_up_seconds: int = Field(
        DAY_SECONDS, ge=MINUTE_SECONDS, le=14 * DAY_SECONDS, description="How long delivery is tried again."
    )
    smtp: SmtpSettings = SmtpSettings()
