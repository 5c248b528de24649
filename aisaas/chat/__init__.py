"""One reply's life, files in the order it happens: send, guards, reply, settle."""
