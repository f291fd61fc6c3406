"""The shared store: Postgres, for several servers at once."""
