"""Backup and restore of what is Longview's own: the database, the object store, the payload keys (ADR-0034).

    DIR/backup.json                      format, and the salt of the passphrase
    DIR/objects/ab/cd/<sha256>           every object once, whichever snapshots hold it: a second snapshot copies what is new
    DIR/snapshots/<id>/manifest.json     versions, schema revision, digests of the files beside it, counts of rows
                       database          the rows of one transaction, JSON lines, gzip
                       objects           the addresses and sizes of the objects, gzip
                       keys              the keyring; only with a passphrase

All of it is patient data: files are their owner's alone, and with a passphrase everything but names, sizes and the manifest is AES-256-GCM.
Temporal, Kafka, FHIR and the archive have backups of their own.
"""

from services.backup.create import create_backup
from services.backup.manifest import Manifest
from services.backup.restore import Part, Restored, restore_backup
from services.backup.verify import Fault, verify_backup

__all__ = ["Fault", "Manifest", "Part", "Restored", "create_backup", "restore_backup", "verify_backup"]
