"""The SQL side of a store: the only place with transactions and SQL."""
