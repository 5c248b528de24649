"""Questions to a database that has grown."""
