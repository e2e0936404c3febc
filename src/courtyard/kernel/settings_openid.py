"""The section of an OpenID provider, of which there may be several."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from courtyard.kernel.settings_sections import Section, split_list

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def _issuer(value: str) -> str:
    parts = urlsplit(value)
    plain = value.isprintable() and not any(sign in value for sign in "?#@ \\")
    if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
        raise ValueError("must be an address such as https://login.example.org/realms/staff, without ? and #")
    return value


def _scopes(value: tuple[str, ...]) -> tuple[str, ...]:
    if "openid" not in value:
        raise ValueError("must hold openid")
    return value


Issuer = Annotated[str, Field(max_length=1_000), AfterValidator(_issuer)]
Scope = Annotated[str, Field(pattern=r"^[!#-\[\]-~]{1,100}$")]
Scopes = Annotated[tuple[Scope, ...], BeforeValidator(split_list), Field(max_length=32), AfterValidator(_scopes)]
Domain = Annotated[str, Field(pattern=r"^[^@\s]{1,253}$"), AfterValidator(str.lower)]
Domains = Annotated[tuple[Domain, ...], BeforeValidator(split_list), Field(max_length=256)]
ClaimName = Annotated[str, Field(min_length=1, max_length=100)]


class OpenidProvider(Section):
    """An OpenID provider to log in with. `NAME` is the slug by which the API and its addresses call it."""

    label: str = Field(min_length=1, max_length=100, description="What people see on the button.")
    issuer: Issuer = Field(description="Address of the provider, exactly as its discovery document says it.")
    client_id: str = Field(min_length=1, max_length=255, description="What the provider knows this server by.")
    client_secret: SecretStr | None = Field(
        None, description="What this server proves itself with. Not set: a public client, which has PKCE alone."
    )
    scopes: Scopes = Field(("openid", "email", "profile"), description="What is asked for.")
    registration: Literal["create", "link_only"] = Field(
        "create",
        description="`link_only`: nobody gets an account by logging in here; who has one links it first. "
        "`accounts.registration = closed` says the same of every provider.",
    )
    trust_email: bool = Field(
        default=False,
        description="Whether an address that the provider calls verified opens the account that has it, without a "
        "link made before. Whoever runs the provider, or can get it to name an address, then can open that account.",
    )
    allowed_domains: Domains = Field(
        (), description="Domains of the verified address that may log in. Not set: every one."
    )
    email_claim: ClaimName = Field("email", description="The claim that holds the address.")
    verified_claim: ClaimName = Field(
        "email_verified", description="The claim that says whether the address is verified."
    )
    name_claim: ClaimName = Field("name", description="The claim that holds the name of the person.")
    timeout_seconds: float = Field(5, ge=0.1, le=30, description="Longest time for one answer of the provider.")


ProviderName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*([_-][a-z0-9]+)*$", max_length=32)]
OpenidProviders = Annotated[dict[ProviderName, OpenidProvider], Field(max_length=32)]


def openid_refusals(providers: Mapping[str, OpenidProvider]) -> Iterator[str]:
    """Name each reason why these providers are not good enough for production."""
    for name, provider in providers.items():
        issuer = urlsplit(provider.issuer)
        if issuer.scheme != "https" and issuer.hostname not in LOOPBACK:
            yield f"accounts.oidc.{name}.issuer must begin with https:// (plain http only for localhost)"
