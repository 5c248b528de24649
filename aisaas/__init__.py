"""An AI-chat SaaS built as a billing firewall with a chat on top."""

# pyproject.toml takes it from here.
__version__ = "0.1.0"
