"""The database: runs, inbox, outbox, dead letters, audit trail and logins. SQLite embedded, PostgreSQL by URL."""

from services.db.audit import AuditOutbox, AuditRow, AuditTrail, Head
from services.db.dead_letters import DeadLetterRecords, DeadLetterRow
from services.db.engine import Database, open_database
from services.db.inbox import InboxRecords
from services.db.lease import Lease
from services.db.migration import Migrated, migrate, newest_revision, open_migrated, present_revision, require_schema
from services.db.outbox import OutboxRecords, WaitingEvent
from services.db.oversight import ItemRow, PassRow, ReconcileRecords
from services.db.reading import Change, Entry, EntryRow, Filter, InboxReader, Listing, Look
from services.db.runs import RunRecords, RunRow
from services.db.sessions import SessionRecords
from services.db.shadow import BuildRecords, ShadowRecords

__all__ = [
    "AuditOutbox",
    "AuditRow",
    "AuditTrail",
    "BuildRecords",
    "Change",
    "Database",
    "DeadLetterRecords",
    "DeadLetterRow",
    "Entry",
    "EntryRow",
    "Filter",
    "Head",
    "InboxReader",
    "InboxRecords",
    "ItemRow",
    "Lease",
    "Listing",
    "Look",
    "Migrated",
    "OutboxRecords",
    "PassRow",
    "ReconcileRecords",
    "RunRecords",
    "RunRow",
    "SessionRecords",
    "ShadowRecords",
    "WaitingEvent",
    "migrate",
    "newest_revision",
    "open_database",
    "open_migrated",
    "present_revision",
    "require_schema",
]
