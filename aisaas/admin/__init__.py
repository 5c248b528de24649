"""What admins see and do across all domains. It owns no table."""
