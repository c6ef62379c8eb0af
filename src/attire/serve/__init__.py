"""The API: photos over HTTP, answers as JSON. `app` puts it together, `server` runs it; needs the extra `serve`."""
