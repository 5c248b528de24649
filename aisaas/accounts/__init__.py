"""Identity: accounts, sessions, the principal of a call."""
