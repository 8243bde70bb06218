"""Bounds what a request may upload, before Django's own handlers write it to memory and disk."""

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload

MOST_BYTES = 20_000_000


class BoundedUploads(FileUploadHandler):
    """The first of FILE_UPLOAD_HANDLERS: a file that grows too large is given up, and the form finds none."""

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        if start + len(raw_data) > MOST_BYTES:
            raise StopUpload(connection_reset=True)
        return raw_data

    def file_complete(self, file_size: int) -> "UploadedFile[bytes] | None":  # noqa: ARG002
        return None
