"""People: who there is, how they prove it, and their sessions.

Stands on the database and the web layer. Knows nothing of workspaces: what an account may do is decided there.
"""

from pathlib import Path

from courtyard.kernel.accounts.errors import EmailTaken
from courtyard.kernel.accounts.models import AccountRow, SessionRow
from courtyard.kernel.accounts.queries import find_account_id, find_living_sessions, find_principal
from courtyard.kernel.accounts.routes import ROUTES
from courtyard.kernel.accounts.schemas import Account, NewAccount
from courtyard.kernel.accounts.service import SESSIONS_CHANNEL, register
from courtyard.kernel.application import Application

__all__ = [
    "SESSIONS_CHANNEL",
    "Account",
    "AccountRow",
    "EmailTaken",
    "NewAccount",
    "accounts",
    "find_account_id",
    "find_living_sessions",
    "find_principal",
    "register",
]

accounts = Application(
    name="accounts",
    description="People, visitors and services, and their sessions.",
    models=(AccountRow, SessionRow),
    side="main",
    migrations=Path(__file__).parent / "migrations",
    routes=ROUTES,
)
