"""Work that no request waits for. Any number of processes may run any of it at once."""
