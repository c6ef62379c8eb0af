"""How attire's pages look: one style sheet that reports and web pages put in front of their own."""

from importlib import resources

THEME = resources.files("attire.theme").joinpath("theme.css").read_text(encoding="utf-8")
