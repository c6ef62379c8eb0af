"""The page for reviewing predictions: `data` reads them, `store` saves decisions, `app` serves the page."""
