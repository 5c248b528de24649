"""The database. `user` runs under the caller's identity and row level security; `service` bypasses
it and has few, named importers."""
