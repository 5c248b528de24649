"""What our streaming is measured beside. Nothing of the product is in here."""
