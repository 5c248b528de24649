"""The settings of one's own account."""
