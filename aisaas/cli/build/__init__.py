"""Making the pages, and looking for secrets in them."""
