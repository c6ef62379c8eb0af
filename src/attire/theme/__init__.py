"""The common style sheet of reports and web pages."""

from importlib import resources

THEME = resources.files("attire.theme").joinpath("theme.css").read_text(encoding="utf-8")
