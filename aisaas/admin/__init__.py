"""What admins steer, and the record of it."""
