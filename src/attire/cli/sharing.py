"""Verbs for the Hugging Face Hub: push and pull."""

from __future__ import annotations

from pathlib import Path

from attire.cli.app import app, console


@app.command
def push(bundle: Path, to: str, /, *, public: bool = False, message: str = "") -> None:
    """Push a bundle to the Hugging Face Hub, as one commit. Log in before with: hf auth login.

    A repository that does not exist is created, as a private one. Exported engines are not pushed.

    Parameters
    ----------
    to
        hf://OWNER/NAME.
    public
        Create the repository for everybody to see. The bundle tells its categories, keys and values.
    message
        Message of the commit.
    """
    from attire.hub import push as run

    console.print(f"{run(bundle, to, public=public, message=message)}", highlight=False, soft_wrap=True)


@app.command
def pull(address: str, /, *, out: Path) -> None:
    """Pull a bundle from the Hugging Face Hub, and verify it before it is put in place.

    Parameters
    ----------
    address
        hf://OWNER/NAME, or hf://OWNER/NAME@REVISION for a branch, tag or commit.
    out
        Directory of the bundle, which must not exist.
    """
    from attire.hub import pull as run

    bundle = run(address, out)
    console.print(f"{bundle.path}  (digest {bundle.digest[:12]})", highlight=False, soft_wrap=True)
