"""The disaster drill: a small hospital loses things on purpose, restores them from its backup, and counts what is left (docs/recovery.md)."""
