"""Everything `make run` needs on one machine: PostgreSQL and Valkey from their wheels, and the supervisor."""
