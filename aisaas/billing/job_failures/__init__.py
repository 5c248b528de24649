"""Items that a job could not do: each waits for its next try, and is set aside after the last."""
