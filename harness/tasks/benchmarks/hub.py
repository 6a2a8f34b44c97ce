"""Files of Hugging Face hub data sets, with downloads that resume.

huggingface_hub resolves addresses, revisions, mirrors (`HF_ENDPOINT`) and tokens; its own downloads start over after a
kill, so the bytes are fetched here, into a `.part` file that belongs to one version of the remote file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from harness.tasks.benchmarks.errors import DataError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIMEOUT_S = 30.0
ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at one commit. `sha256` is None where the hub does not publish it (small files outside LFS)."""

    repository: str
    name: str
    commit: str
    url: str
    size: int | None
    etag: str
    sha256: str | None


class _Interrupted(Exception):
    """The connection broke; what has arrived is kept."""


def find_on_hub(repository: str, name: str, revision: str, endpoint: str | None = None) -> RemoteFile:
    """Where a data set's file is, on the hub or a mirror. Raises DataError if it is not there or cannot be reached."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError, RepositoryNotFoundError

    def address(at: str) -> str:
        return hf_hub_url(repository, name, repo_type="dataset", revision=at, endpoint=endpoint)

    url = address(revision)
    offline = "without a network, give local files by --from FOLDER"
    try:
        found = get_hf_file_metadata(url, endpoint=endpoint)
    except RemoteEntryNotFoundError:
        raise DataError(f"{url}: no such file at this revision of the data set; try another --revision") from None
    except RepositoryNotFoundError:
        raise DataError(f"{url}: no such data set, or no access (set HF_TOKEN); {offline}") from None
    except HfHubHTTPError as error:
        raise DataError(f"{url}: HTTP {error.response.status_code}; try again later; {offline}") from None
    except Exception as error:  # the client raises other types by version and transport
        raise DataError(f"{url}: the hub cannot be reached ({type(error).__name__}); {offline}") from None
    etag = found.etag or ""
    if not etag or found.commit_hash is None:
        raise DataError(f"{url}: the answer names no version; is the endpoint a mirror of the hub?")
    sha256 = etag if _SHA256.fullmatch(etag) else None
    # Not `found.location`: that may be a signed address, which expires during a long download.
    return RemoteFile(repository, name, found.commit_hash, address(found.commit_hash), found.size, etag, sha256)


def fetch(remote: RemoteFile, target: Path, progress: Callable[[int, int | None], None] | None = None) -> str:
    """Download into `target` and return its SHA-256. `progress` is called with bytes present and total bytes.

    Bytes of an earlier, interrupted call are kept. Raises DataError after five broken connections, for an HTTP error,
    a full disk, or content that differs from the hub's checksum.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{hashlib.sha256(remote.etag.encode()).hexdigest()[:12]}.part")
    for stale in target.parent.glob(f"{target.name}.*.part"):
        if stale != part:
            stale.unlink()  # of a version that is no longer the remote one
    retries = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(0.2, max=10),
        retry=retry_if_exception_type(_Interrupted),
        reraise=True,
    )
    try:
        retries(_append, remote, part, progress)
    except _Interrupted as error:
        raise DataError(f"{remote.url}: the connection broke ({error}); to resume: run the command again") from None
    except OSError as error:
        raise DataError(f"{part}: cannot be written ({error.strerror or error})") from None
    if remote.size is not None and part.stat().st_size != remote.size:
        found = part.stat().st_size
        part.unlink()
        raise DataError(f"{remote.url}: {found} bytes arrived instead of {remote.size}; run the command again")
    digest = sha256_of(part)
    if remote.sha256 is not None and digest != remote.sha256:
        part.unlink()
        raise DataError(f"{remote.url}: SHA-256 {digest} instead of {remote.sha256}; run the command again")
    part.replace(target)
    return digest


def _append(remote: RemoteFile, part: Path, progress: Callable[[int, int | None], None] | None) -> None:
    """Fetch what is missing of `part`."""
    import httpx
    from huggingface_hub import get_token

    have = part.stat().st_size if part.exists() else 0
    if remote.size is not None and have == remote.size and have:
        return
    # Compressed transfer would make byte ranges refer to something else than the file.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    if token := get_token():
        headers["Authorization"] = f"Bearer {token}"  # httpx drops it when redirected to another host
    try:
        with httpx.stream("GET", remote.url, headers=headers, follow_redirects=True, timeout=_TIMEOUT_S) as response:
            if response.status_code == 416:
                part.unlink()
                raise _Interrupted("the file has another size than the part already here")
            if response.status_code in (408, 429) or response.status_code >= 500:
                raise _Interrupted(f"HTTP {response.status_code}")
            if response.status_code not in (200, 206):
                raise DataError(f"{remote.url}: HTTP {response.status_code}; check the revision and HF_TOKEN")
            resumed = response.status_code == 206
            done = have if resumed else 0
            with part.open("ab" if resumed else "wb") as stream:
                for chunk in response.iter_raw():  # without a size: a broken connection loses nothing that arrived
                    stream.write(chunk)
                    done += len(chunk)
                    if progress is not None:
                        progress(done, remote.size)
    except httpx.TransportError as error:
        raise _Interrupted(type(error).__name__) from error
    if remote.size is not None and done < remote.size:
        raise _Interrupted(f"it closed after {done} of {remote.size} bytes")


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
