"""What operators do to a running install: switches, caps, models, users, and billing."""
