"""What the browser shows. The only package that imports reflex (with aisaas.py and rxconfig.py)."""
