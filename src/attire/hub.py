"""Push bundles to, and pull them from, repositories of the Hugging Face Hub: `hf://OWNER/NAME[@REVISION]`.

The library huggingface_hub does the requests and finds the access token (`hf auth login`, or HF_TOKEN); another hub is
named by HF_ENDPOINT. Exported engines are not pushed: they are measured and checked on the machine that runs them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from attire.bundle import CARD, SPEC, ModelBundle
from attire.errors import HubError, MissingExtraError
from attire.files import temporary_folder
from attire.storage import storing

if TYPE_CHECKING:
    from huggingface_hub import HfApi

FILES = re.compile(r"[A-Za-z0-9_-]+\.(json|safetensors|md)")  # of a bundle; whatever else is there is left
ADDRESS = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[^\s@]+))?")
LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN."


class Address(NamedTuple):
    """A repository, as OWNER/NAME, and a branch, tag or commit of it; None for its newest state."""

    repository: str
    revision: str | None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises `HubError` for text that is not `hf://OWNER/NAME[@REVISION]`."""
        found = ADDRESS.fullmatch(text)
        if found is None:
            raise HubError(
                f"'{text}' is not an address on the hub. Expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION."
            )
        return cls(found["repository"], found["revision"])

    def __str__(self) -> str:
        return f"hf://{self.repository}" + (f"@{self.revision}" if self.revision else "")


def push(bundle: ModelBundle | str | Path, to: str, *, public: bool = False, message: str = "") -> str:
    """Push a bundle to `hf://OWNER/NAME`, as one commit; returns the address with that commit, for `pull`.

    A repository that does not exist is created: private, unless `public`. An existing one keeps its visibility. The
    bundle is verified before; its model card is written anew, with what the hub wants to know. A shelf stands for its
    present version.

    Raises `HubError` if the hub refuses or cannot be reached.
    """
    bundle, address = ModelBundle.of(bundle), Address.parse(to)
    if address.revision is not None:
        raise HubError(f"'{to}' names a revision, and a push makes a new one. Expected hf://{address.repository}.")
    with _requests(address) as api:
        from huggingface_hub import CommitOperationAdd

        card = bundle.card(str(address)).encode()
        names = sorted(file.name for file in bundle.path.iterdir() if file.is_file() and FILES.fullmatch(file.name))
        files = [CommitOperationAdd(name, card if name == CARD else bundle.path / name) for name in {*names, CARD}]
        api.create_repo(address.repository, private=not public, exist_ok=True)
        text = message or f"Bundle {bundle.digest[:12]}"
        commit = api.create_commit(address.repository, files, commit_message=text)
    return str(Address(address.repository, commit.oid))


def pull(address: str, out: str | Path) -> ModelBundle:
    """Pull the bundle at `hf://OWNER/NAME[@REVISION]` into the directory `out`, which must be new.

    It is verified before `out` exists. Nothing of it is run, and no file is unpickled.

    Raises `HubError` if the hub refuses, cannot be reached, or has no bundle there, and `BundleError` if it is damaged.
    """
    source, out = Address.parse(address), Path(out)
    if out.exists():
        raise HubError(f"{out} exists already. Remove it, or choose another --out.")
    with storing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(out.parent, f".{out.name}-") as temporary:
            pulled, folder = temporary / "pulled", temporary / "verified" / out.name
            with _requests(source) as api:
                api.snapshot_download(
                    source.repository,
                    revision=source.revision,
                    local_dir=pulled,
                    allow_patterns=["*.json", "*.safetensors", "*.md"],
                )
            folder.mkdir(parents=True)
            for file in pulled.iterdir():
                if FILES.fullmatch(file.name) and file.is_file() and not file.is_symlink():
                    file.replace(folder / file.name)
            if not (folder / SPEC).is_file():
                raise HubError(f"{source} is not a bundle: it has no {SPEC}. Expected what `attire push` wrote.")
            ModelBundle.load(folder)
            folder.replace(out)
    return ModelBundle.load(out)


@contextmanager
def _requests(address: Address) -> Iterator[HfApi]:
    """The hub's API; what it raises becomes `HubError`."""
    try:
        import httpx2
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RevisionNotFoundError
    except ImportError:
        raise MissingExtraError("The Hugging Face Hub", "hub") from None
    api = HfApi(library_name="attire", library_version=version("attire"))
    try:
        yield api
    except RevisionNotFoundError:
        raise HubError(f"{address}: the repository has no revision '{address.revision}'.") from None
    except HFValidationError as error:
        raise HubError(f"{address} is not a valid address: {error}") from None
    except (HfHubHTTPError, httpx2.HTTPError, OSError) as error:
        fault = _refusal(address, error) or _not_reached(api.endpoint, error)
        if fault is None:
            raise
        raise HubError(fault) from None


def _refusal(address: Address, error: BaseException | None) -> str | None:
    """A message about the status that the hub answered; None if it did not answer."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            return f"{address}: the hub refuses access (status {status}). {LOG_IN}"
        if status == 404:
            return f"{address} does not exist, or is private and your token may not see it. {LOG_IN}"
        if status is not None:
            detail = getattr(error, "server_message", None) or str(error).splitlines()[0]
            return f"{address}: the hub answered with status {status}: {detail}"
        error = error.__cause__
    return None


def _not_reached(endpoint: str, error: BaseException | None) -> str | None:
    """A message for a hub that cannot be reached; None for errors of the disk."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    causes = []
    while error is not None:
        causes.append(error)
        error = error.__cause__
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return "the Hugging Face Hub is switched off by HF_HUB_OFFLINE. Unset it to push or pull."
    if any(isinstance(cause, HTTPError | LocalEntryNotFoundError) for cause in causes):
        return f"{endpoint} cannot be reached ({causes[-1]}). Check the network and HF_ENDPOINT, and try again."
    return None
