"""What admins see and steer. To everybody else there is nothing here."""
