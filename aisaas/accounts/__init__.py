"""Who somebody is: accounts, sessions, the principal of a call."""
