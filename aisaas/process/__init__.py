"""The app as processes: how one is started, and how several serve one port."""
