"""The stage cache: results of stages on disk and in a store that machines share, whole or not at all.

Keys, layout, locks, checksums, housekeeping. Knows arrays and JSON; nothing of faces, videos or settings.
"""

from storage.cache import INGEST, CacheReader, StageCache, is_published
from storage.errors import CacheDamagedError, CacheWriteError, StorageError
from storage.keys import canonical_json, content_hash, file_hash, folder_hash, stage_key
from storage.layout import is_cache
from storage.result import StageResult, StoredArray
from storage.shared import SharedStore
from storage.writer import ArrayWriter, StageWriter

__all__ = [
    "INGEST",
    "ArrayWriter",
    "CacheDamagedError",
    "CacheReader",
    "CacheWriteError",
    "SharedStore",
    "StageCache",
    "StageResult",
    "StageWriter",
    "StorageError",
    "StoredArray",
    "canonical_json",
    "content_hash",
    "file_hash",
    "folder_hash",
    "is_cache",
    "is_published",
    "stage_key",
]
