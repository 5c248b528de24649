"""Who changed what. Above it, domains add their lines; admins read all of them."""
