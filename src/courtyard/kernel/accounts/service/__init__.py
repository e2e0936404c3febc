"""Every change of accounts, of how they are proven, and of sessions."""
