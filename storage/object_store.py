"""Objects under a URL through fsspec: paths, listings, atomic creation, errors in one line."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path

from storage.errors import StorageError

_WITHOUT_FOLDERS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "oci", "memory"}


class ObjectStore:
    """A folder of any file system that fsspec knows; `fs` is the file system, `root` the folder in it."""

    def __init__(self, url: str) -> None:
        """Open the store at `url`, such as s3://bucket/folder. Raises StorageError."""
        self.url = url
        try:
            import fsspec

            self.fs, self.root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise StorageError(f"{url}: {error}; install what it names") from error
        except (ValueError, TypeError) as error:
            raise StorageError(
                f"{url}: no such kind of store ({error}); give a URL such as s3://bucket/folder"
            ) from error

    def path(self, *parts: str) -> str:
        """Path of an object in `fs`."""
        return "/".join([self.root.rstrip("/"), *parts])

    def names(self, *folder: str) -> list[str]:
        """Sorted names of the objects in a folder; none where the folder does not exist."""
        try:
            found = self.fs.ls(self.path(*folder), detail=True)
        except FileNotFoundError:
            return []
        return sorted(str(e["name"]).rsplit("/", 1)[-1] for e in found if e["type"] == "file")

    def read(self, path: str, most: int) -> bytes:
        """The first bytes of an object. Raises FileNotFoundError; a pipe in a folder is not waited for."""
        self.check_object(path)
        found: bytes = self.fs.cat_file(path, start=0, end=most)
        return found

    def check_object(self, path: str) -> None:
        """Raise StorageError for what is no regular file, in a folder of this machine."""
        if "file" in self._protocols and not stat.S_ISREG(Path(path).stat().st_mode):
            raise StorageError(f"{self.url}: {path} is not a regular file; remove it")

    @property
    def _protocols(self) -> set[str]:
        return {self.fs.protocol} if isinstance(self.fs.protocol, str) else set(self.fs.protocol)

    def write(self, path: str, data: bytes) -> None:
        """Write a whole object, new or not."""
        self.make_folder(path)
        self.fs.pipe_file(path, data)

    def create(self, path: str, data: bytes) -> bool:
        """Write an object that must not exist yet; False where it does."""
        with self.reaching():
            self.make_folder(path)
            try:
                if "file" in self._protocols:  # fsspec looks first and writes then, and two may look at once
                    with Path(path).open("xb") as file:
                        file.write(data)
                else:
                    self.fs.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if "PreconditionFailed" in str(error) or "ConditionalRequestConflict" in str(error):
                    return False
                raise
        return True

    def remove_object(self, path: str) -> None:
        """Remove an object; does nothing where it does not exist."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(path)

    def make_folder(self, path: str) -> None:
        """Create the folder of an object; does nothing in object stores, which have no folders."""
        if not self._protocols & _WITHOUT_FOLDERS:
            self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)

    @contextlib.contextmanager
    def reaching(self) -> Iterator[None]:
        """Context that turns errors of the store or the network into StorageError.

        FileNotFoundError and FileExistsError pass.
        """
        try:
            yield
        except (StorageError, FileNotFoundError, FileExistsError):
            raise
        except Exception as error:
            if not isinstance(error, OSError | TimeoutError) and "boto" not in type(error).__module__:
                raise
            raise StorageError(
                f"{self.url}: {type(error).__name__}: {error}; is it reachable, and may you write there?"
            ) from error
