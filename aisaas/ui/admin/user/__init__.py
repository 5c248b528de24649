"""One user, and what admins do to them. Never what they wrote."""
