"""What admins see and do over all domains. It owns no table."""
