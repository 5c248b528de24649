"""The only importers of vendor SDKs, a file each, behind the protocols of `ports`."""
