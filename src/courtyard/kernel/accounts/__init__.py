"""People: who there is, how they prove it, and their sessions.

Stands on the database, mail and the web layer. Knows nothing of workspaces: what an account may do is decided there.
"""

from pathlib import Path
from typing import Any

from courtyard.kernel.accounts.errors import (
    EmailTaken,
    StepUpNeeded,
    TooManyCredentials,
    UnknownPermission,
    WeakPassword,
)
from courtyard.kernel.accounts.events import AUDIT_NAMES
from courtyard.kernel.accounts.mails import MAILS
from courtyard.kernel.accounts.models import (
    AccountRow,
    ApiKeyRow,
    ChallengeRow,
    DeviceRow,
    ExternalIdentityRow,
    LoginThrottleRow,
    PasskeyRow,
    RecoveryCodeRow,
    SessionRow,
    TotpRow,
)
from courtyard.kernel.accounts.queries import find_account_by_email, find_account_id, get_account, load_names
from courtyard.kernel.accounts.queries.api_keys import find_api_key, living_api_keys, principal_of_api_key
from courtyard.kernel.accounts.routes import ROUTES
from courtyard.kernel.accounts.rules import API_KEY_PREFIX, has_second_factor
from courtyard.kernel.accounts.schemas import Account, Language, NewAccount, Token
from courtyard.kernel.accounts.schemas.api_keys import ApiKey, IssuedApiKey, NewApiKey
from courtyard.kernel.accounts.service import api_keys, mailing
from courtyard.kernel.accounts.service.accounts import remove as remove_account
from courtyard.kernel.accounts.service.registration import create_person
from courtyard.kernel.accounts.service.rights import SESSIONS_CHANNEL, rights_changed
from courtyard.kernel.accounts.service.services import create_service, rename_service
from courtyard.kernel.accounts.service.sessions import require_recent_proof
from courtyard.kernel.accounts.store import sessions_of
from courtyard.kernel.accounts.tasks import SCHEDULES, TASKS
from courtyard.kernel.application import Application

__all__ = [
    "API_KEY_PREFIX",
    "SESSIONS_CHANNEL",
    "Account",
    "AccountRow",
    "ApiKey",
    "EmailTaken",
    "IssuedApiKey",
    "Language",
    "NewAccount",
    "NewApiKey",
    "StepUpNeeded",
    "Token",
    "TooManyCredentials",
    "UnknownPermission",
    "WeakPassword",
    "accounts",
    "api_keys",
    "create_person",
    "create_service",
    "find_account_by_email",
    "find_account_id",
    "find_api_key",
    "get_account",
    "has_second_factor",
    "living_api_keys",
    "load_names",
    "mailing",
    "principal_of_api_key",
    "remove_account",
    "rename_service",
    "require_recent_proof",
    "rights_changed",
    "sessions_of",
]


def _commands() -> Any:  # noqa: ANN401 - no server has to load what commands are made of
    from courtyard.kernel.accounts.cli import commands  # noqa: PLC0415

    return commands


accounts = Application(
    name="accounts",
    description="People, visitors and services, and their sessions.",
    models=(
        AccountRow,
        SessionRow,
        ChallengeRow,
        DeviceRow,
        LoginThrottleRow,
        TotpRow,
        RecoveryCodeRow,
        PasskeyRow,
        ExternalIdentityRow,
        ApiKeyRow,
    ),
    side="main",
    migrations=Path(__file__).parent / "migrations",
    routes=ROUTES,
    mails=MAILS,
    templates=Path(__file__).parent / "templates",
    audit_names=AUDIT_NAMES,
    tasks=TASKS,
    schedules=SCHEDULES,
    commands=_commands,
)
