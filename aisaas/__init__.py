"""An AI-chat SaaS built as a billing firewall with a chat on top."""
