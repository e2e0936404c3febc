"""The section of the settings for webhooks."""

from ipaddress import ip_network
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

from courtyard.kernel.settings_sections import Section, split_list


def _network(value: str) -> str:
    try:
        return str(ip_network(value, strict=False))
    except ValueError:
        raise ValueError("must be an address or a network such as 10.1.0.0/16") from None


Networks: TypeAlias = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], BeforeValidator(split_list)]


class WebhookSettings(Section):
    """Webhooks: what happens in a workspace, told to addresses that it names."""

    allowed_networks: Networks = Field(
        (), description="Networks that are not public, and may be told things all the same: `10.1.0.0/16`."
    )
    timeout_seconds: float = Field(10, ge=0.1, le=60, description="Longest time for one attempt.")
    sweep_seconds: float = Field(0.5, ge=0.01, le=60, description="How often it is looked for what is to be told.")
    endpoints: int = Field(20, ge=0, le=1_000, description="Endpoints that a workspace can have.")
    pause_after_failures: int = Field(
        50, ge=1, le=100_000, description="Attempts in a row that fail before an endpoint is paused."
    )
    secret_overlap_hours: float = Field(
        24, ge=0, le=720, description="How long the secret before the present one signs too."
    )
    kept_days: float = Field(30, ge=0, le=3_650, description="How long what was sent is remembered.")
