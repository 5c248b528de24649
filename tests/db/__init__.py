"""The database layer, on the real database."""
