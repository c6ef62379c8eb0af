"""The HTTP API: photos in, JSON answers out. `app` builds it, `server` runs it. Needs the extra `serve`."""
