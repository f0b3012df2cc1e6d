"""What a file is that FFmpeg does not read as a video, by its first bytes: often it is whole, and copying it again no help."""

from pathlib import Path

from videoadapt.video.files import open_bytes

HEAD_BYTES = 4096
ANIMATED = 0x02  # flag of WebP's extended header
ARCHIVES = {
    b"PK\x03\x04": "zip",
    b"Rar!\x1a\x07": "rar",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
}


def other_kind(path: Path) -> str:
    """Say what `path` is and what to do, "" where nothing here is known of it. Called for files that did not open."""
    try:
        with open_bytes(path) as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return ""
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and head[20] & ANIMATED:
        return "is an animated WebP, which FFmpeg cannot read; convert it to mp4 or GIF with another tool"
    if head.startswith(b"\x8aMNG\r\n\x1a\n"):
        return "is an MNG animation, which FFmpeg cannot read; convert it to mp4 or APNG with another tool"
    if head.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`"
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "is a web page, as a failed download leaves it; open it to see what the server says"
    archive = next((name for start, name in ARCHIVES.items() if head.startswith(start)), "")
    if archive or head[257:262] == b"ustar":
        return f"is an archive ({archive or 'tar'}); unpack it"
    if head and not any(head):
        return f"begins with {len(head)} zero bytes, as a download that was set up and never filled; fetch it again"
    return ""
