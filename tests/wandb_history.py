"""What an offline W&B run has logged, read from its file without W&B's own programs."""

import json
import struct
from pathlib import Path

from wandb.proto import wandb_internal_pb2 as messages

_FILE_HEADER, _BLOCK = 7, 32768
_CHUNK_HEADER = struct.Struct("<IHB")  # checksum, length, kind
_WHOLE, _LAST = 1, 4


def history(run: Path) -> list[dict]:
    """Return what each call of `log` gave, in order, of the one offline run in a run folder."""
    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    records = map(messages.Record.FromString, _records(file.read_bytes()))
    return [
        {"/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]


def _records(data: bytes):
    """Yield the records of a log in LevelDB's format: chunks that never cross a block."""
    record, at = b"", _FILE_HEADER
    while at + _CHUNK_HEADER.size <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _CHUNK_HEADER.size:
            at += left
            continue
        _, length, kind = _CHUNK_HEADER.unpack_from(data, at)
        at += _CHUNK_HEADER.size
        record += data[at : at + length]
        at += length
        if kind in (_WHOLE, _LAST):
            yield record
            record = b""
