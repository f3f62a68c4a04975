"""What a platform asks of every long-running process: `/health`, `/ready` and `/metrics` on a port of their own (ADR-0030)."""
